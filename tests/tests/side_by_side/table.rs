//! THE TABLE of commands, the files that they read, and the differences that are meant.

/// Files in the folder in which the commands run.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: applied\ndata:\n  a: \"1\"\n"),
    ("map2.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: applied\ndata:\n  a: \"2\"\n"),
    (
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: single\n  labels: {app: single}\nspec:\n  containers:\n  - name: main\n    image: busybox\n    ports:\n    - containerPort: 80\n",
    ),
    (
        "deploy.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: local}\nspec:\n  selector: {matchLabels: {app: local}}\n  template:\n    metadata: {labels: {app: local}}\n    spec:\n      containers:\n      - {name: one, image: a}\n      - {name: two, image: b}\n",
    ),
    ("bad.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bad\ndatas: {}\n"),
    (
        "pruned.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keep, labels: {set: a}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: goes, labels: {set: a}}\n",
    ),
    ("pruned2.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keep, labels: {set: a}}\n"),
    ("cluster.yaml", include_str!("objects/cluster.yaml")),
    ("described.yaml", include_str!("objects/described.yaml")),
    ("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: hidden\nstringData:\n  a: b\n"),
    (
        "role0.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reconciled}\nrules:\n- {apiGroups: [\"\"], resources: [pods], verbs: [get, list]}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: reconciled}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reconciled}\nsubjects:\n- {apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}\n",
    ),
    (
        "role.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reconciled, labels: {a: b}}\nrules:\n- {apiGroups: [\"\"], resources: [pods, secrets], verbs: [get]}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: reconciled}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reconciled}\nsubjects:\n- {apiGroup: rbac.authorization.k8s.io, kind: User, name: joe}\n",
    ),
    (
        "frozen.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: frozen}\nimmutable: true\ndata: {a: b}\n",
    ),
    (
        "frozen2.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: frozen}\nimmutable: true\ndata: {a: c}\n",
    ),
    ("a.env", "A=1\n# a comment\nB=x y\n"),
    ("f.txt", "hello\n"),
    (
        "csr.yaml",
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: none}\nspec:\n  request: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K\n  signerName: example.com/s\n  usages: [client auth]\n",
    ),
];

/// Commands that differ, and why.
pub(crate) const DIFFERENT: &[(&str, &str)] = &[
    (
        "set image -f deploy.yaml one=x --local -o yaml",
        "kubectl reads the file into its own types and shows their empty fields; kctl shows the file",
    ),
    ("auth whoami -o json", "kubectl shows its own types in the order of their fields, kctl sorts all alike"),
];

/// A line a command. `!` runs stock kubectl for both sides, to prepare; `{side}` is the side's name.
pub(crate) const COMMANDS: &str = r#"
! create namespace {side}
# create: what it makes
create deployment web --image=nginx:1 --port=80 --replicas=2 --dry-run=client -o yaml
create deployment web --image=a --image=b/c_d.e:1 --dry-run=client -o name
create deployment web --image=a --image=b --dry-run=client -o yaml -- sleep 1
create deployment web
create deployment
create deployment a b --image=x
create deployment web --image=nginx:1 --dry-run=client -o yaml -- sleep 1
create deployment web --image=nginx:1 --dry-run=server
create deployment web --image=nginx:1 --dry-run=bad
create deployment web --image=nginx:1 --port=80 --replicas=2
create deployment web --image=nginx:1
create job once --image=busybox --dry-run=client -o yaml -- echo hi
create job once
create job once --image=busybox --from=cronjob/x
create job once --from=cronjob/none
create cronjob tick --image=busybox --schedule='*/5 * * * *' --dry-run=client -o yaml
create cronjob tick --image=busybox
# seldom: a job in the middle of it all would be there for one side first
create cronjob tick --image=busybox --schedule='0 0 1 1 *' --restart=Never
create job ticked --from=cronjob/tick --dry-run=client -o name
create job ticked --from=deployment/web
create namespace extra --dry-run=client -o yaml
create namespace {side}
create quota limit --hard=cpu=1,pods=20 --scopes=NotTerminating --dry-run=client -o yaml
create quota limit --hard=cpu
create quota limit --hard=pods=20
create role reader --verb=get,list --resource=pods,deployments.apps --resource-name=x --dry-run=client -o yaml
create role reader --verb=fly --resource=po
create role other --verb=get
create role other --resource=pods
create role other --verb=get --resource=nothings
create role other --verb=bind --resource=pods
create rolebinding rb --clusterrole=view --user=a --group=g --serviceaccount=ns:sa --dry-run=client -o yaml
create rolebinding rb --clusterrole=view --role=x
create rolebinding rb --role=reader --serviceaccount=bad
create rolebinding rb --role=reader --user=jane
create clusterrole {side}-reader --verb=get --resource=nodes --dry-run=client -o yaml
create clusterrole {side}-reader --verb=get --non-resource-url=/metrics,/healthz/*
create clusterrole {side}-all --aggregation-rule=a=b --dry-run=client -o yaml
create clusterrole {side}-all --verb=get
create clusterrole {side}-all --verb=fly --non-resource-url=/x
create clusterrolebinding {side}-crb --clusterrole=view --user=a --dry-run=client -o yaml
create clusterrolebinding {side}-crb
create clusterrolebinding {side}-crb --clusterrole=view --serviceaccount=x:y
create service clusterip s1 --tcp=80:8080 --tcp=90 --dry-run=client -o yaml
create service clusterip s1 --clusterip=None --dry-run=client -o yaml
create service clusterip s1
create service clusterip s1 --tcp=x
create service clusterip s1 --tcp=80:70000
create service nodeport s2 --tcp=80 --node-port=30000 --dry-run=client -o yaml
create service loadbalancer s3 --tcp=80:http --dry-run=client -o yaml
create service externalname s4 --external-name=a.example.com --dry-run=client -o yaml
create service externalname s4
create service externalname s4 --external-name=-
create service clusterip s1 --tcp=80:8080
create serviceaccount robot --dry-run=client -o yaml -n other
create serviceaccount robot
create sa robot
create ingress in --rule='foo.com/bar=svc:80,tls=s' --rule='foo.com/x*=svc:http' --class=c --annotation a=b --default-backend=d:80 --dry-run=client -o yaml
create ingress in
create ingress in --rule=foo
create ingress in --default-backend=x
create ingress in --rule='/=svc:80'
create pdb guard --selector=app=web --min-available=50% --dry-run=client -o yaml
create pdb guard --selector=app=web
create pdb guard --min-available=1
create pdb guard --selector=app=web --min-available=x
create poddisruptionbudget guard --selector=app=web --max-unavailable=1
create priorityclass {side}-pc --value=5 --description=d --dry-run=client -o yaml
create priorityclass {side}-pc --value=5
create configmap cm --from-literal=a=b --from-literal=c='d e' --from-file=f.txt --from-file=k=f.txt --dry-run=client -o yaml
create configmap cm --from-env-file=a.env --append-hash --dry-run=client -o yaml
create configmap cm --from-literal=a=b --from-env-file=a.env
create configmap cm --from-literal=a=b --from-literal=a=c
create configmap cm --from-literal=a
create configmap cm --from-file=none.txt
create configmap cm --from-literal='a b=c'
create cm cm --from-literal=a=b
create configmap cm --from-literal=a=b
create secret generic se --from-literal=a=b --type=x --append-hash --dry-run=client -o yaml
create secret generic se --from-literal=a=b
create secret docker-registry dr --docker-username=u --docker-password=p --docker-email=e@x --dry-run=client -o yaml
create secret docker-registry dr --docker-username=u
create secret tls t --cert=none --key=none
create secret tls t
create token robot --duration=1ns
create token robot --duration=-1s
create token robot --bound-object-name=x
create token robot --bound-object-kind=Deployment
create token nobody
create -f bad.yaml
create -f none.yaml
create -f pod.yaml
create -f pod.yaml
create foo
# waiting until the deployment is there
! wait --for=condition=Available deployment/web --timeout=60s
! wait --for=condition=Ready pod/single --timeout=60s
# get
get deployments
get deploy web -o name
get pods -l app=web --no-headers
get cm,secret
get cm cm -o yaml
get cm cm -o jsonpath='{.data.a}'
get cm cm -o custom-columns=N:.metadata.name,D:.data.a
get nothings
get pod none
get pods --field-selector=metadata.name=single
get sa robot -o go-template='{{.metadata.name}}'
get quota
get pdb
get ingress
get cj
get clusterrole {side}-reader -o yaml
# describe
describe deployment web --show-events=false
describe rs -l app=web --show-events=false
describe cronjob tick
describe job none
describe sa robot
describe pdb none
# explain
explain pods
explain pod.spec.containers.ports
explain deployments.apps
explain deployments.spec.strategy
explain deploy.spec.template.spec.containers.resources.limits
explain cj.spec --recursive
explain pods.status --recursive
explain hpa --api-version=autoscaling/v1
explain hpa --api-version=autoscaling/v9
explain configmaps.data
explain secrets
explain pods.spec.nope
explain nothings
explain
explain a b
explain ingresses.networking.k8s.io.spec.rules
explain events.events.k8s.io
explain crd.spec.versions.schema
# rollout
rollout status deployment/web
rollout status deployment/web --watch=false --revision=7
rollout status pod/single
rollout status deployment/none
rollout status
rollout history deployment/web
rollout history deployment/web --revision=1
rollout history deployment/web --revision=9
rollout history pod/single
rollout pause deployment/web
rollout pause deployment/web
rollout pause pod/single
rollout restart deployment/web
rollout resume deployment/web
rollout resume deployment/web
rollout restart deployment/web
rollout restart pod/single
! rollout status deployment/web
rollout history deployment web
rollout undo deployment/web --to-revision=9
rollout undo deployment/web --dry-run=server
rollout undo deployment/web
! rollout status deployment/web
rollout undo deployment/web --to-revision=3
rollout undo pod/single
# set
set image deployment/web nginx=nginx:2
set image deployment/web nginx=nginx:2
set image deployment/web none=nginx:2
set image deployment/web '*=nginx:3' --dry-run=client
set image deployment/web
set image nginx=x
set image deployment/web nginx=nginx:4 -o name
set image -f deploy.yaml one=x --local -o yaml
set image deployment/web nginx=nginx:4 two=x
set env deployment/web A=1 B=2
set env deployment/web A-
set env deployment/web --list
set env deployment/web C=3 --overwrite=false
set env deployment/web B=3 --overwrite=false
set env deployment/web --from=configmap/cm --prefix=P_
set env deployment/web --list
set env deployment/web --from=deployment/web
set env deployment/web '1 x=y'
set env deployment/web
set resources deployment/web --limits=cpu=200m,memory=512Mi --requests=cpu=100m,memory=256Mi
set resources deployment/web
set resources deployment/web --limits=cpu
set resources deployment/web -c=none --limits=cpu=1
set serviceaccount deployment/web robot
set sa deployment/web
set selector service/s1 app=web,tier=x
set selector deployment/web app=web
set selector service/s1 'a in (b)'
set subject rolebinding/rb --user=joe --group=ops --serviceaccount={side}:robot
set subject rolebinding/rb --user=joe
set subject rolebinding/rb
set subject deployment/web --user=joe
set image pod/none a=b
set env cm/cm A=1
# expose, autoscale
expose deployment web --port=80 --target-port=8080 --dry-run=client -o yaml
expose deployment web --name=front --dry-run=client -o yaml
expose deployment web
expose deployment web
expose pod single --port=8080 --name=single-svc --type=NodePort --labels=x=y
expose configmap cm --port=1
expose deployment none
expose service web --name=again --port=81 --session-affinity=ClientIP --dry-run=client -o yaml
expose service web --name=again --session-affinity=x
autoscale deployment web --min=1 --max=3 --cpu=70% --dry-run=client -o yaml
autoscale deployment web --max=3 --cpu=500m --memory=1Gi --dry-run=client -o yaml
autoscale deployment web --max=0
autoscale deployment web --min=4 --max=3
autoscale deployment web
autoscale deployment web --max=3 --cpu-percent=80
autoscale deployment web --max=3
autoscale configmap cm --max=3
autoscale deployment none --max=3
# apply, diff, replace, patch, scale, label, annotate
apply -f map.yaml
apply -f map.yaml
diff -f map.yaml
apply -f map2.yaml
apply -f map.yaml --server-side
apply -f map.yaml --server-side --force-conflicts
apply -f bad.yaml
apply
diff
diff -f none.yaml
replace -f map2.yaml
replace -f none.yaml
replace
replace -f bad.yaml
replace -f map.yaml --force
replace -f map.yaml --grace-period=1
replace -f map2.yaml --dry-run=server
patch cm applied -p '{"data":{"b":"3"}}'
patch cm applied -p '{"data":{"b":"3"}}'
patch cm applied --type=json -p '[{"op":"remove","path":"/data/b"}]'
patch cm none -p '{}'
patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":3}}'
scale deployment web --replicas=2
scale deployment web --replicas=2 --current-replicas=9
scale deployment none --replicas=2
label cm applied x=y
label cm applied x=z
label cm applied x=z --overwrite=false
label cm applied x=z --overwrite
label cm applied x-
annotate cm applied x=y
annotate cm applied x=y
annotate cm applied x=z v=w
annotate cm applied x=1 v=2 --overwrite=false
label cm applied q=w --dry-run=client -o yaml
label cm applied q=w -o jsonpath='{.nope}'
label cm --all -l a=b x=y
label cm --all --field-selector=a=b x=y
label -f map.yaml x=y --local -o yaml
label -f map.yaml x=y --local
label -f map.yaml x=y --local --dry-run=client
label -f map.yaml x=y --local --dry-run=server
label cm applied x=y --local
label x=y --local
annotate -f map.yaml x=y --local -o yaml
annotate cm applied r=s --dry-run=client -o yaml
patch -f map.yaml --local -p '{"data":{"a":"9"}}' -o yaml
patch -f map.yaml --local -p '{"data":{"a":"1"}}'
patch -f pod.yaml --local -p '{"spec":{"containers":[{"name":"main","image":"x"}]}}' -o yaml
patch -f map.yaml --local --type=json -p '[{"op":"add","path":"/data/q","value":"1"}]'
patch cm applied --local -p '{}'
patch -f map.yaml --local --dry-run=server -p '{}'
patch cm applied -p '{"data":{"z":"9"}}' --dry-run=client -o yaml
patch cm applied -p '{"data":{"z":"9"}}' --dry-run=client
patch cm applied -p '{"data":{"z":"9"}}' --dry-run=server
patch crd/nope --local -p '{}'
apply -f frozen.yaml
apply -f frozen2.yaml --force --server-side
apply -f frozen2.yaml --force --dry-run=server
apply -f frozen2.yaml --force --grace-period=3
apply -f frozen2.yaml --force
get cm frozen -o jsonpath='{.data.a}'
delete -i cm frozen
delete --interactive cm frozen cm
get cm frozen -o name
run four --image=busybox --override-type=strategic --overrides='{"apiVersion":"v1","spec":{"containers":[{"name":"four","env":[{"name":"A","value":"1"}]}]}}' --dry-run=client -o yaml
run one --image=busybox --dry-run=client -o yaml
run two --image=busybox --port=80 --expose
run two --image=busybox --expose
run three --image=busybox --overrides='{"spec":{"hostNetwork":true}}' --dry-run=client -o name
run three --image=busybox --override-type=x --overrides='{}'
expose deployment web --name=over --port=80 --overrides='{"spec":{"type":"NodePort"}}' --dry-run=client -o name
# what was applied
apply -f map.yaml
apply view-last-applied cm applied
apply view-last-applied cm/applied -o json
apply view-last-applied cm applied -o wide
apply view-last-applied cm cm
apply edit-last-applied cm applied
apply view-last-applied cm applied
apply edit-last-applied cm/applied
apply edit-last-applied cm none
apply set-last-applied -f map2.yaml
apply set-last-applied -f map2.yaml
apply set-last-applied -f pod.yaml
apply set-last-applied -f pod.yaml --create-annotation
apply view-last-applied pod single
# prune
apply -f map.yaml --prune
apply -f pruned.yaml --prune -l set=a --prune-allowlist=core/v1/ConfigMap
apply -f pruned2.yaml --prune -l set=a --prune-allowlist=core/v1/ConfigMap --dry-run=server
apply -f pruned2.yaml --prune -l set=a --prune-allowlist=core/v1/ConfigMap
apply -f pruned2.yaml --prune -l set=a --prune-allowlist=core/v1
apply -f pruned2.yaml -l set=b
diff -f pruned2.yaml --concurrency=4
# apply sets
apply -f map.yaml --prune --applyset=set1
apply -f map.yaml --prune --applyset=
apply -f map.yaml --applyset=set1 -n {side}
apply -f map.yaml --prune --applyset=set1 --all -n {side}
apply -f map.yaml --prune --applyset=set1 -l a=b -n {side}
apply -f map.yaml --prune --applyset=set1 --prune-allowlist=core/v1/ConfigMap -n {side}
apply -f map.yaml --prune --applyset=pods/x -n {side}
apply -f pruned.yaml --prune --applyset=set1 -n {side} --server-side
get secret set1 -o jsonpath='{.metadata.annotations.applyset\.kubernetes\.io/contains-group-kinds}'
get cm -l applyset.kubernetes.io/part-of -o name
apply -f pruned2.yaml --prune --applyset=set1 -n {side} --dry-run=server --server-side
apply -f pruned2.yaml --prune --applyset=set1 -n {side} --server-side
apply -f secret.yaml --prune --applyset=configmaps/set2 -n {side} --server-side
apply -f map.yaml --prune --applyset=se -n {side}
apply -f map.yaml --prune --applyset=configmaps/cm -n {side}
! annotate secret se applyset.kubernetes.io/tooling=helm/v1
apply -f map.yaml --prune --applyset=se -n {side}
! annotate secret se applyset.kubernetes.io/tooling=kubectl/v1 --overwrite
apply -f map.yaml --prune --applyset=se -n {side}
# kubeconfig
config set-cluster c1 --server=https://c1.example.com --insecure-skip-tls-verify=true
config set-cluster c1 --tls-server-name=x
config set-credentials u1 --token=t
config set-credentials u1 --username=a --password=b
config set-credentials u2 --exec-command=/bin/x --exec-api-version=client.authentication.k8s.io/v1 --exec-arg=a --exec-env=k=v
config set-context ctx1 --cluster=c1 --user=u1 --namespace=n
config set-context ctx1 --namespace=m
config set-context
config set-context --current --namespace={side}
config set contexts.ctx1.namespace z
config set current-context ctx1
config current-context
config use-context served
config get-contexts ctx1
config view
config view --minify --context=ctx1 -o json
config rename-context ctx1 ctx2
config rename-context none ctx3
config rename-context ctx2 served
config unset contexts.ctx2.namespace
config unset users.u2
config delete-context ctx2
config delete-context none
config delete-cluster c1
config delete-cluster none
config delete-user u1
config delete-user none
plugin list
# kustomize
kustomize k/components
kustomize k/generators
kustomize k/images
kustomize k/labels
kustomize k/legacy
kustomize k/names
kustomize k/namespaces
kustomize k/order
kustomize k/patches
kustomize k/replacements
kustomize k/nowhere
kustomize k/names k/labels
kustomize k/names/objects.yaml
create -k k/images --dry-run=client -o name --validate=false
apply -k k/components
apply -k k/components
apply -k k/generators --dry-run=server
diff -k k/components
delete -k k/components
apply -k k/images -f map.yaml
apply -k k/images -R
# certificates, top, auth
! create -f csr.yaml --dry-run=server
certificate approve
certificate approve none
certificate deny none
top node
top pod
top pod x -l a=b
auth can-i create pods
auth can-i list nodes --as=jane
auth whoami -o json
auth whoami -o jsonpath='{.status.userInfo.username}'
! apply -f role0.yaml
auth reconcile -f role.yaml --dry-run=client
auth reconcile -f role.yaml --dry-run=client --remove-extra-permissions --remove-extra-subjects -o name
auth reconcile -f role0.yaml
auth reconcile -f role0.yaml --dry-run=server
auth reconcile -f map.yaml
auth reconcile
auth reconcile x -f role0.yaml
diff -f secret.yaml --show-secrets
wait --for=create cm/cm -o name
wait --for=create cm/cm -o jsonpath='{.data.a}'
wait --for=create cm/cm --dry-run=client
wait --for=delete pod/none --timeout=1s
wait --for=condition=Ready pod/none --timeout=1s
api-resources --api-group=apps --no-headers
api-versions
events --for=pod/none
# describe: objects that nothing changes any more
! create namespace {side}-described
! apply -f cluster.yaml
! apply -f described.yaml -n {side}-described
! wait --for=jsonpath='{.status.phase}'=Available pv/rich pv/rich-csi pv/rich-path --timeout=60s
! wait --for=jsonpath='{.status.hard.pods}'=20 quota/rich -n {side}-described --timeout=60s
! wait --for=jsonpath='{.status.used.configmaps}'=2 quota/plain -n {side}-described --timeout=60s
! wait --for=jsonpath='{.status.used.services}'=1 quota/plain -n {side}-described --timeout=60s
! wait --for=condition=AbleToScale=false hpa/rich -n {side}-described --timeout=60s
! wait --for=condition=Suspended job/rich -n {side}-described --timeout=60s
describe pvc rich -n {side}-described --show-events=false
describe pv rich -n {side}-described --show-events=false
describe sc rich -n {side}-described --show-events=false
describe ingress rich -n {side}-described --show-events=false
describe ingressclass rich -n {side}-described --show-events=false
describe endpoints rich -n {side}-described --show-events=false
describe networkpolicy rich -n {side}-described --show-events=false
describe hpa rich -n {side}-described --show-events=false
describe pdb rich -n {side}-described --show-events=false
describe quota rich -n {side}-described --show-events=false
describe limits rich -n {side}-described --show-events=false
describe sts rich -n {side}-described --show-events=false
describe ds rich -n {side}-described --show-events=false
describe job rich -n {side}-described --show-events=false
describe cronjob rich -n {side}-described --show-events=false
describe sa rich -n {side}-described --show-events=false
describe secret rich -n {side}-described --show-events=false
describe cm rich -n {side}-described --show-events=false
describe role rich -n {side}-described --show-events=false
describe rolebinding rich -n {side}-described --show-events=false
describe clusterrole rich -n {side}-described --show-events=false
describe clusterrolebinding rich -n {side}-described --show-events=false
describe priorityclass rich -n {side}-described --show-events=false
describe csr rich -n {side}-described --show-events=false
describe validatingwebhookconfiguration rich -n {side}-described --show-events=false
describe mutatingwebhookconfiguration rich -n {side}-described --show-events=false
describe volumeattributesclass rich -n {side}-described --show-events=false
describe csinode rich -n {side}-described --show-events=false
describe pv rich- --show-events=false
describe ingress plain -n {side}-described --show-events=false
describe netpol -n {side}-described
describe endpointslice -n {side}-described
describe hpa.v1.autoscaling rich -n {side}-described --show-events=false
describe quota -n {side}-described
describe ns {side}-described
describe servicecidr kubernetes --show-events=false
# the end
delete pod single --now
delete cm applied none
delete deployment web --wait=false
delete nothings x
delete clusterrole {side}-reader
delete priorityclass {side}-pc
delete clusterrolebinding {side}-crb
"#;
