//! A pod's own cgroup, above those of its containers, for what they may have together.
//!
//! Contract: only pods that limit themselves have one: `/minik/PROFILE/podUID`. It is made before the sandbox, again if need
//! be, and goes after it. Needs the engine on this machine with the cgroup driver `cgroupfs`, and the right to write to the
//! hierarchy; a pod that cannot be limited is not run. Huge pages alone are limited where the kernel can, as upstream does.
//!
//! Upstream: `pkg/kubelet/cm/pod_container_manager_linux.go`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runtime::{Error, PodSandboxConfig, Resources, Result};

use crate::client::DockerRuntime;
use crate::error;

/// What all profiles' pods are below of.
const ROOT: &str = "/minik";
/// `defaultPeriod` of the kernel, in microseconds.
const PERIOD: u64 = 100_000;

impl DockerRuntime {
    /// The cgroup that a pod's containers are made in; none: the engine's choice.
    pub(crate) fn cgroup_parent(&self, config: &PodSandboxConfig) -> Option<String> {
        if !config.cgroup_parent.is_empty() {
            return Some(config.cgroup_parent.clone());
        }
        let limited = config.resources != Resources::default();
        // Huge pages alone are not worth refusing a pod.
        let only_huge = Resources { huge_pages: Default::default(), ..config.resources.clone() };
        let possible =
            self.is_local() && self.facts.get().is_some_and(|facts| facts.cgroup_driver == "cgroupfs");
        let wanted = limited && (possible || only_huge != Resources::default());
        wanted.then(|| format!("{ROOT}/{}/pod{}", self.config.profile, config.metadata.uid))
    }

    /// Makes the pod's cgroup with its limits, if it is to have one.
    pub(crate) async fn make_pod_cgroup(&self, config: &PodSandboxConfig) -> Result<()> {
        if config.resources == Resources::default() || !config.cgroup_parent.is_empty() {
            return Ok(());
        }
        let facts = self.facts().await?;
        let Some(cgroup) = self.cgroup_parent(config) else { return Ok(()) };
        let failed = |message: String| Error::Other { operation: "limit the pod's resources", message };
        if !self.is_local() || facts.cgroup_driver != "cgroupfs" {
            let why =
                "resources of a whole pod need an engine on this machine with the cgroup driver cgroupfs";
            return Err(failed(why.to_owned()));
        }
        let resources = config.resources.clone();
        let made = tokio::task::spawn_blocking(move || make(&hierarchies()?, &cgroup, &resources)).await;
        made.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| failed(error.to_string()))
    }

    /// The cgroup that was made for a sandbox; none: it has none of its own.
    pub(crate) async fn pod_cgroup_of(&self, sandbox: &str) -> Result<Option<String>> {
        let of_profile = format!("{ROOT}/{}", self.config.profile);
        // Nobody pays for a look at the sandbox where no pod has one.
        if !hierarchies().unwrap_or_default().iter().any(|one| one.at(&of_profile).exists()) {
            return Ok(None);
        }
        let found = match self.client.inspect_container(sandbox, None).await {
            Ok(found) => found,
            Err(error) if error::is_status(&error, 404) => return Ok(None),
            Err(error) => return Err(error::other("inspect pod sandbox")(error)),
        };
        let parent = found.host_config.and_then(|host| host.cgroup_parent).unwrap_or_default();
        Ok(Some(parent).filter(|parent| parent.starts_with(&of_profile)))
    }
}

/// Removes a pod's cgroup, and those above it that are empty then.
pub(crate) async fn remove(cgroup: &str) {
    let cgroup = cgroup.to_owned();
    let work = move || {
        for hierarchy in hierarchies().unwrap_or_default() {
            let mut at = Some(Path::new(&cgroup));
            while let Some(path) = at.filter(|path| path.starts_with(ROOT)) {
                let gone = match fs::remove_dir(hierarchy.at(path)) {
                    Ok(()) => true,
                    Err(error) => error.kind() == io::ErrorKind::NotFound,
                };
                at = path.parent().filter(|_| gone);
            }
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::warn!(%error, "remove a pod's cgroup");
    }
}

/// Removes the cgroups of all pods of a profile that have nothing in them any more.
pub(crate) async fn remove_all(profile: &str) {
    let of_profile = format!("{ROOT}/{profile}");
    let mut pods = std::collections::BTreeSet::new();
    for hierarchy in hierarchies().unwrap_or_default() {
        let entries = fs::read_dir(hierarchy.at(&of_profile)).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        pods.extend(folders.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    for pod in pods {
        remove(&format!("{of_profile}/{pod}")).await;
    }
    remove(&of_profile).await;
}

/// A tree of cgroups.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// Of version 1: its controllers; none: version 2, which has all.
    controllers: Option<Vec<String>>,
}

impl Hierarchy {
    fn at(&self, cgroup: impl AsRef<Path>) -> PathBuf {
        self.mount.join(cgroup.as_ref().strip_prefix("/").unwrap_or(cgroup.as_ref()))
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.as_ref().is_some_and(|own| own.iter().any(|name| name == controller))
    }
}

fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let of_line = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        let mount = PathBuf::from(mount.split(' ').nth(4)?);
        let mut source = source.split(' ');
        let controllers = match source.next()? {
            "cgroup" => Some(source.nth(1)?.split(',').map(str::to_owned).collect()),
            "cgroup2" => None,
            _ => return None,
        };
        Some(Hierarchy { mount, controllers })
    };
    mountinfo.lines().filter_map(of_line).collect()
}

/// What to write, by controller: files of version 1.
fn files_v1(resources: &Resources) -> Vec<(&'static str, String, String)> {
    let mut files = Vec::new();
    let mut put = |controller, file: &str, value: String| files.push((controller, file.to_owned(), value));
    if let Some(bytes) = resources.memory_limit {
        put("memory", "memory.limit_in_bytes", bytes.to_string());
    }
    if let Some(shares) = resources.cpu_shares {
        put("cpu", "cpu.shares", shares.to_string());
    }
    if let Some(quota) = resources.cpu_quota {
        put("cpu", "cpu.cfs_period_us", resources.cpu_period.unwrap_or(PERIOD).to_string());
        put("cpu", "cpu.cfs_quota_us", quota.to_string());
    }
    for (name, bytes) in &resources.huge_pages {
        put("hugetlb", &format!("hugetlb.{}.limit_in_bytes", page(name)), bytes.to_string());
    }
    files
}

/// The same for version 2.
fn files_v2(resources: &Resources) -> Vec<(&'static str, String, String)> {
    let mut files = Vec::new();
    let mut put = |controller, file: &str, value: String| files.push((controller, file.to_owned(), value));
    if let Some(bytes) = resources.memory_limit {
        put("memory", "memory.max", bytes.to_string());
    }
    if let Some(shares) = resources.cpu_shares {
        // 2 to 262144 become 1 to 10000.
        put("cpu", "cpu.weight", (1 + (shares.saturating_sub(2) * 9999) / 262_142).to_string());
    }
    if let Some(quota) = resources.cpu_quota {
        put("cpu", "cpu.max", format!("{quota} {}", resources.cpu_period.unwrap_or(PERIOD)));
    }
    for (name, bytes) in &resources.huge_pages {
        put("hugetlb", &format!("hugetlb.{}.max", page(name)), bytes.to_string());
    }
    files
}

/// `2MB`, as the kernel calls what `hugepages-2Mi` has.
fn page(resource: &str) -> String {
    let size = resource.strip_prefix("hugepages-").unwrap_or(resource);
    match size.strip_suffix('i') {
        Some(size) => format!("{size}B"),
        None => size.to_owned(),
    }
}

fn make(hierarchies: &[Hierarchy], cgroup: &str, resources: &Resources) -> io::Result<()> {
    // A machine with both versions limits by the first.
    let is_v1 = hierarchies.iter().any(|one| one.has("memory") || one.has("cpu"));
    let files = if is_v1 { files_v1(resources) } else { files_v2(resources) };
    for (controller, file, value) in files {
        let found = hierarchies.iter().find(|one| match is_v1 {
            true => one.has(controller),
            false => one.controllers.is_none(),
        });
        let Some(hierarchy) = found else {
            if controller == "hugetlb" {
                continue;
            }
            return Err(io::Error::other(format!("the kernel has no cgroup controller {controller}")));
        };
        if !is_v1 {
            enable(hierarchy, cgroup, controller)?;
        }
        let folder = hierarchy.at(cgroup);
        fs::create_dir_all(&folder)?;
        match fs::write(folder.join(&file), value) {
            Err(_) if controller == "hugetlb" => {}
            written => {
                written.map_err(|error| io::Error::new(error.kind(), format!("write {file}: {error}")))?
            }
        }
    }
    Ok(())
}

/// Hands a controller of version 2 down to a cgroup.
fn enable(hierarchy: &Hierarchy, cgroup: &str, controller: &str) -> io::Result<()> {
    let above: Vec<&Path> = Path::new(cgroup).ancestors().skip(1).collect();
    for path in above.into_iter().rev() {
        let folder = hierarchy.at(path);
        fs::create_dir_all(&folder)?;
        let file = folder.join("cgroup.subtree_control");
        let on = fs::read_to_string(&file)?;
        if !on.split_whitespace().any(|name| name == controller) {
            match fs::write(&file, format!("+{controller}")) {
                Err(_) if controller == "hugetlb" => {}
                written => written?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources() -> Resources {
        Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            memory_limit: Some(64 << 20),
            huge_pages: [("hugepages-2Mi".to_owned(), 4 << 20)].into(),
            ..Resources::default()
        }
    }

    #[test]
    fn hierarchies_are_found_by_their_controllers() {
        let text = "30 25 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
            31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n33 1 8:1 / / rw - ext4 /dev/sda rw\n";
        let found = parse(text);
        assert_eq!(found.len(), 3);
        assert!(found[0].has("memory") && found[1].has("cpu") && !found[2].has("cpu"));
        assert_eq!(found[0].at("/minik/p"), Path::new("/sys/fs/cgroup/memory/minik/p"));
    }

    #[test]
    fn limits_are_written_where_the_kernel_reads_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).expect("written");
        let own = |name: &str, controllers: Option<&[&str]>| Hierarchy {
            mount: dir.path().join(name),
            controllers: controllers.map(|list| list.iter().map(|c| (*c).to_owned()).collect()),
        };
        let v1 =
            [own("memory", Some(&["memory"])), own("cpu", Some(&["cpu", "cpuacct"])), own("unified", None)];
        make(&v1, "/minik/p/podu", &resources()).expect("made");
        assert_eq!(read("memory/minik/p/podu/memory.limit_in_bytes"), "67108864");
        assert_eq!(read("cpu/minik/p/podu/cpu.cfs_quota_us"), "50000");

        fs::create_dir_all(dir.path().join("two/minik/p")).expect("made");
        for folder in ["two", "two/minik", "two/minik/p"] {
            fs::write(dir.path().join(folder).join("cgroup.subtree_control"), "").expect("written");
        }
        make(&[own("two", None)], "/minik/p/podu", &resources()).expect("made");
        assert_eq!(read("two/minik/p/podu/cpu.max"), "50000 100000");
        assert_eq!(read("two/minik/p/podu/cpu.weight"), "39");
        assert_eq!(read("two/minik/p/podu/hugetlb.2MB.max"), "4194304");
        let missing = make(&[own("memory", Some(&["memory"]))], "/minik/p/podu", &resources());
        assert!(missing.is_err_and(|error| error.to_string().contains("no cgroup controller cpu")));
    }
}
