//! A second table: flags that few know, the editor, and kuberc. Its objects are its own.

/// Files in the folder in which the commands run.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("edited.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: edited\ndata:\n  a: \"1\"\n"),
    (
        "edited2.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: edited2}\ndata: {a: \"1\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: sealed}\nimmutable: true\ndata: {a: \"1\"}\n",
    ),
    ("ours.kuberc", "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\n"),
    ("theirs.kuberc", "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\n"),
    (
        "kuberc.yaml",
        "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\ndefaults:\n- {command: get, options: [{name: output, default: name}]}\n- {command: set env, options: [{name: dry-run, default: client}]}\n- {command: nothing, options: []}\naliases:\n- {name: getmaps, command: get, prependArgs: [cm], options: [{name: output, default: yaml}]}\n- {name: runx, command: run, appendArgs: [\"--\", echo], options: [{name: image, default: i}, {name: dry-run, default: client}]}\n- {name: bad, command: nothing at all}\n- {name: badflag, command: get, options: [{name: nope, default: a}]}\n",
    ),
];

/// A line a command, as in the first table.
pub(crate) const COMMANDS: &str = r#"
! create deployment rare --image=x
# the editor makes a seven of a one behind `a:`
create -f edited.yaml --edit
create -f edited.yaml --edit -o json
create -f edited.yaml --edit --raw=/x
create -f edited.yaml --edit -o name
get cm edited -o yaml
! create -f edited2.yaml
edit cm/edited2 --output-patch
edit cm/edited2
! patch cm edited2 -p '{"data":{"a":"11"}}'
edit cm/edited2 cm/edited -o kyaml --windows-line-endings
! patch cm edited2 -p '{"data":{"a":"1"}}'
edit cm/edited2 --save-config --output-patch -o json
get cm edited2 -o jsonpath='{.data}'
edit cm/sealed
edit cm/none
edit cm/edited2 -o name
edit cm/edited2 --validate=x
edit cm/edited2 --subresource=status
edit cm/edited2 -l a=b
edit
# flags that few know
apply -f edited.yaml --subresource=status
apply -f edited.yaml --subresource=status --server-side
apply -f edited.yaml --openapi-patch=x
apply -f edited.yaml --openapi-patch=false
diff -f edited.yaml --prune -l set=none --prune-allowlist=core/v1/ConfigMap
diff -f edited.yaml --prune --prune-allowlist=x
diff -f edited.yaml --prune --prune-allowlist=core/v1/Nothing
scale deployment rare --replicas=2 --timeout=60s
scale deployment rare --replicas=2 --timeout=x
scale deployment rare --replicas=2 --timeout=-1s
scale deployment rare --replicas=2 --field-manager=x
wait -f edited.yaml --for=create --local
wait cm/edited --for=create --local
wait -f edited.yaml --for=create -k x
config view --merge=false
config view --merge=x
config view -o name
config view -o kyaml
config view -o go-template --template='{{.kind}}'
config view -o custom-columns=X:.kind
config set-credentials u3 --auth-provider=oidc --auth-provider-arg=a=b --auth-provider-arg=c=d
config set-credentials u3 --auth-provider-arg=a- --auth-provider-arg=x=y
config view --raw -o jsonpath='{.users[*].user.auth-provider}'
cluster-info dump --pod-running-timeout=0s
cluster-info dump -o custom-columns=a:b
api-resources --api-group=batch -o json
api-resources --api-group=batch -o kyaml
api-resources --api-group=batch -o x
run saved --image=x --save-config
run saved --image=x --cascade=foo
run saved --image=x --timeout=foo
run saved --image=x --grace-period=x
set env deployment/rare A=1
set env deployment/rare --from=cm/edited
set env deployment/rare --list --resolve
taint node none a=b:NoSchedule --validate=x
taint node -f x a=b:NoSchedule
cordon -A x
rollout restart deployment/rare --dry-run=client
create token default --field-manager=x
explain -R ns.status
# flags of every command
get ns default --as=x --as-user-extra=a=b
get ns default --as-user-extra=a=b
get ns default --as-uid=4
get ns default --username=a --token=b
get ns default --username=a --password=b
get ns default -o name --disable-compression --profile=none --profile-output=x --log-flush-frequency=1s
get ns default --profile=x
get ns default --log-flush-frequency=1
get ns default --vmodule=a=-1
get ns default --vmodule=a=x
get ns default -o name --vmodule=a=1,b=2
# kuberc
get cm edited --kuberc=kuberc.yaml
get cm edited --kuberc=kuberc.yaml -o jsonpath='{.data}'
getmaps --kuberc=kuberc.yaml edited
getmaps --kuberc=kuberc.yaml edited -o name
runx x --kuberc=kuberc.yaml
bad --kuberc=kuberc.yaml
set env deployment/rare Y=1 --kuberc=kuberc.yaml
get cm edited --kuberc=none.yaml
get cm edited --kuberc
get cm edited --kuberc=edited.yaml
kuberc set --kuberc={side}.kuberc
kuberc set --kuberc={side}.kuberc --section x
kuberc set --kuberc={side}.kuberc --section defaults --name x
kuberc set --kuberc={side}.kuberc --section defaults --command get --option a
kuberc set --kuberc={side}.kuberc --section defaults --command get --option=--output=name
kuberc set --kuberc={side}.kuberc --section defaults --command get --option output=json
kuberc set --kuberc={side}.kuberc --section defaults --command get --option output=wide --overwrite
kuberc set --kuberc={side}.kuberc --section defaults --command drain
kuberc set --kuberc={side}.kuberc --section aliases --command get
kuberc set --kuberc={side}.kuberc --section aliases --name g --command get --prependarg cm --option output=name
kuberc set --kuberc={side}.kuberc --section aliases --name g --command get --overwrite --appendarg edited
kuberc set --kuberc={side}.kuberc --section credentialplugin --policy x
kuberc set --kuberc={side}.kuberc --section credentialplugin --policy Allowlist --allowlist-entry a --allowlist-entry b=c,command=
kuberc set --kuberc={side}.kuberc --section credentialplugin --policy Allowlist --allowlist-entry command=foo,command=/bin/bar
kuberc view --kuberc={side}.kuberc
kuberc view --kuberc={side}.kuberc -o json
kuberc view --kuberc={side}.kuberc -o kyaml
g --kuberc={side}.kuberc
kuberc view --kuberc=none.yaml
alpha
"#;
