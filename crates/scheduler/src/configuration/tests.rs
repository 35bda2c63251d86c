//! What a configuration may say, what becomes of it, and which mistakes are named.

use super::*;

fn parse(fields: &str) -> Result<Configuration, String> {
    let text = format!("apiVersion: {GROUP_VERSION}\nkind: {KIND}\n{fields}");
    Configuration::parse(&text).map_err(|error| error.to_string())
}

fn weights(profile: &Profile) -> Vec<(&'static str, i64)> {
    profile.plugins.iter().filter(|e| e.weight > 0).map(|e| (e.plugin.name(), e.weight)).collect()
}

#[test]
fn without_profiles_there_is_the_default_one() {
    let profiles = parse("percentageOfNodesToScore: 30").expect("good").profiles();
    assert_eq!(profiles.len(), 1);
    assert_eq!((profiles[0].name.as_str(), profiles[0].percentage), ("default-scheduler", 30));
    assert_eq!(profiles[0].plugins.len(), crate::plugins::PLUGINS.len());
}

#[test]
fn profiles_say_which_plugins_take_part_where() {
    let profiles = parse(
        "profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  percentageOfNodesToScore: 100
  plugins:
    multiPoint:
      enabled: [{name: ImageLocality, weight: 7}]
      disabled: [{name: DefaultPreemption}, {name: InterPodAffinity}]
    filter:
      disabled: [{name: NodePorts}]
    score:
      disabled: [{name: '*'}]
      enabled: [{name: NodeResourcesFit, weight: 5}, {name: TaintToleration}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 3}]}
",
    )
    .expect("good")
    .profiles();
    let [default, packing] = profiles.as_slice() else { panic!("two profiles") };
    assert!(default.preemption.is_some() && packing.preemption.is_none());
    assert_eq!(weights(packing), [("TaintToleration", 3), ("NodeResourcesFit", 5)]);
    assert!(packing.plugin("InterPodAffinity").is_none() && packing.plugin("NodePorts").is_none());
    assert!(packing.plugin("NodeName").is_some());
    assert_eq!((default.percentage, packing.percentage), (0, 100));
}

#[test]
fn mistakes_are_named() {
    let profile = |fields: &str| format!("profiles:\n- schedulerName: s\n{fields}");
    let args = |name: &str, args: &str| profile(&format!("  pluginConfig: [{{name: {name}, args: {args}}}]"));
    for (fields, why) in [
        ("nonsense: 1".to_owned(), "strict decoding error: unknown field `nonsense`"),
        (profile("  nonsense: 1"), "strict decoding error: unknown field `nonsense`"),
        (
            "percentageOfNodesToScore: 101".to_owned(),
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            "podInitialBackoffSeconds: 0".to_owned(),
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
        ),
        ("podMaxBackoffSeconds: 0".to_owned(), "must be greater than or equal to PodInitialBackoffSeconds"),
        ("leaderElection: {leaderElect: true}".to_owned(), "leaderElection.leaderElect: Invalid value: true"),
        (
            "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]".to_owned(),
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b}]".to_owned(),
            "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', managedResources: [{name: example.com/a}, {name: example.com/a}]}]"
                .to_owned(),
            "extenders[0].managedResources[1].name: Invalid value: \"example.com/a\": duplicate extender managed resource name",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', managedResources: [{name: cpu}]}]".to_owned(),
            "extenders[0].managedResources[0].name: Invalid value: \"cpu\": is an invalid extended resource name",
        ),
        (
            "extenders: [{urlPrefix: here}]".to_owned(),
            "extenders[0].urlPrefix: Invalid value: \"here\": must be a URL with scheme and host",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', httpTimeout: soon}]".to_owned(),
            "extenders[0].httpTimeout: Invalid value: \"soon\": must be a duration such as 5s",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: a}]".to_owned(),
            "profiles[1].schedulerName: Duplicate value: \"a\"",
        ),
        ("profiles: [{schedulerName: a}, {}]".to_owned(), "profiles[1].schedulerName: Required value"),
        (profile("  plugins: {filter: {enabled: [{name: Foo}]}}"), "FilterPlugin \"Foo\" does not exist"),
        (
            profile("  plugins: {multiPoint: {enabled: [{name: Foo}]}}"),
            "MultiPointPlugin \"Foo\" does not exist",
        ),
        (
            profile("  plugins: {filter: {enabled: [{name: ImageLocality}]}}"),
            "plugin \"ImageLocality\" does not extend FilterPlugin plugin",
        ),
        (
            profile("  plugins: {bind: {disabled: [{name: '*'}]}}"),
            "at least one bind plugin is needed for profile with scheduler name \"s\"",
        ),
        (args("Foo", "{}"), "profiles[0].pluginConfig[0].name: Invalid value: \"Foo\""),
        (
            args("InterPodAffinity", "{hardPodAffinityWeight: 101}"),
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0-100]",
        ),
        (args("InterPodAffinity", "{hard: 1}"), "strict decoding error: unknown field `hard`"),
        (
            args("InterPodAffinity", "{kind: OtherArgs}"),
            "args.kind: Invalid value: \"OtherArgs\": must be InterPodAffinityArgs",
        ),
        (
            args("NodeResourcesFit", "{scoringStrategy: {type: Foo}}"),
            "scoringStrategy.type: Unsupported value: \"Foo\"",
        ),
        (
            args(
                "PodTopologySpread",
                "{defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]}",
            ),
            "defaultConstraints[0].maxSkew: Invalid value: 0",
        ),
        (
            args("DefaultPreemption", "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}"),
            "cannot be zero",
        ),
    ] {
        let error = parse(&fields).expect_err(&fields);
        assert!(error.contains(why), "{fields}: {error}");
    }
    let other = Configuration::parse("apiVersion: v1\nkind: Pod").expect_err("another kind").to_string();
    assert!(other.contains("no kind \"Pod\" is registered for version \"v1\""), "{other}");
}

#[test]
fn arguments_reach_their_plugins() {
    let configuration = parse(
        "profiles:
- pluginConfig:
  - name: VolumeBinding
    args: {apiVersion: kubescheduler.config.k8s.io/v1, kind: VolumeBindingArgs, bindTimeoutSeconds: 5}
  - name: DefaultPreemption
    args: {minCandidateNodesAbsolute: 7}
",
    )
    .expect("good");
    assert_eq!(configuration.bind_timeout("default-scheduler"), Duration::from_secs(5));
    let profiles = configuration.profiles();
    assert_eq!(profiles[0].preemption.as_ref().expect("it preempts").min_candidate_nodes_absolute, 7);
}
