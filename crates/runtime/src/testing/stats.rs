//! What containers use.

#![allow(missing_docs)]

use super::Harness;
use crate::*;

pub async fn tell_what_runs(h: &Harness) {
    let config = h.pod("used");
    let sandbox = h.sandbox(&config).await;
    let id = h.start_in(&sandbox, &config, &h.container("main", &["forever"])).await;
    let ended = h.start_in(&sandbox, &config, &h.container("ended", &["exit=0"])).await;
    h.ended(&ended).await;
    for detail in [StatsDetail::Compute, StatsDetail::Filesystems] {
        let stats = h.runtime.container_stats(&ContainerFilter::default(), detail).await.expect("stats");
        let [stats] = &stats[..] else { panic!("one container runs: {stats:?}") };
        assert_eq!((&stats.id, stats.metadata.name.as_str()), (&id, "main"));
        assert_eq!(stats.labels.get(labels::POD_UID), Some(&config.metadata.uid));
        assert!(stats.memory.working_set <= stats.memory.usage, "{stats:?}");
        assert!(detail == StatsDetail::Compute || stats.rootfs.is_some(), "{stats:?}");
    }
    let stats = h.runtime.pod_sandbox_stats(&PodSandboxFilter::default()).await.expect("stats");
    let [stats] = &stats[..] else { panic!("one sandbox runs: {stats:?}") };
    assert_eq!((&stats.id, &stats.metadata), (&sandbox, &config.metadata));
    assert_eq!(stats.interfaces.len(), 1, "{stats:?}");
}
