//! The images that the nodes with an engine have pulled: when they were last used, and whose credentials they were pulled with.
//!
//! **Contract**: kept in a file. An image that was pulled with credentials is for pods that have them, too, under the name that
//! it was pulled by; what no node has pulled is for everybody (`NeverVerifyPreloadedImages`, upstream's default).
//! **Upstream**: `pkg/kubelet/images/pullmanager`.

use jiff::Timestamp;
use runtime::reference;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// With so many credentials of an image, no others are remembered that turn out to be the same
/// (`writeRecordWhileMatchingLimit`).
const REMEMBERED: usize = 100;

/// A Secret's credential for a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PullSecret {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Of the credential, which is not kept itself.
    pub(crate) hash: String,
}

impl PullSecret {
    fn is_same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&other.namespace, &other.name, &other.uid)
    }
}

/// Who may use an image under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Access {
    /// It was pulled without credentials.
    Everybody,
    /// Who has one of these.
    Owners(Vec<PullSecret>),
}

impl Access {
    /// With what another pull was made with; whether that is new.
    fn join(&mut self, by: Option<&PullSecret>) -> bool {
        match (&mut *self, by) {
            (Self::Everybody, _) => false,
            (Self::Owners(_), None) => {
                *self = Self::Everybody;
                true
            }
            (Self::Owners(owners), Some(new)) if owners.contains(new) => false,
            (Self::Owners(owners), Some(new)) => {
                owners.retain(|owner| !owner.is_same_object(new));
                owners.push(new.clone());
                true
            }
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    used: Timestamp,
    /// By name without tag and digest.
    access: BTreeMap<String, Access>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Records {
    /// By id.
    images: BTreeMap<String, Record>,
    /// By image as pods name it: how many pulls are under way; none, if it was interrupted by the node's end.
    pulling: BTreeMap<String, u32>,
}

/// The images that the nodes with an engine have pulled, by id; kept in a file if there is one. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    file: Option<PathBuf>,
    records: Arc<Mutex<Records>>,
}

/// A pull under way; over when dropped.
pub(crate) struct Pull<'a> {
    ledger: &'a Ledger,
    image: &'a str,
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        let mut records = self.ledger.locked();
        if let Some(count) = records.pulling.get_mut(self.image) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                records.pulling.remove(self.image);
            }
        }
        self.ledger.save(&records);
    }
}

impl Ledger {
    /// As it was left in this file, which need not be there.
    pub fn load(file: PathBuf) -> Self {
        let text = std::fs::read(&file).unwrap_or_default();
        let mut records: Records = serde_json::from_slice(&text).unwrap_or_default();
        records.pulling.values_mut().for_each(|count| *count = 0);
        Self { file: Some(file), records: Arc::new(Mutex::new(records)) }
    }

    /// A pull begins: what it brings is this node's, even if the node ends before the pull.
    pub(crate) fn begin<'a>(&'a self, image: &'a str) -> Pull<'a> {
        let mut records = self.locked();
        *records.pulling.entry(image.to_owned()).or_default() += 1;
        self.save(&records);
        Pull { ledger: self, image }
    }

    /// An image was pulled, with this credential or as nobody in particular.
    pub(crate) fn pulled(&self, id: &str, image: &str, by: Option<&PullSecret>, now: Timestamp) {
        let mut records = self.locked();
        let record = records.images.entry(id.to_owned());
        let record = record.or_insert_with(|| Record { used: now, access: BTreeMap::new() });
        record.used = now;
        let access = record.access.entry(name(image)).or_insert_with(|| Access::Owners(Vec::new()));
        access.join(by);
        self.save(&records);
    }

    /// Whether a pod with these credentials may use an image that is here.
    pub(crate) fn is_for(&self, id: &str, image: &str, secrets: &[PullSecret]) -> bool {
        let mut records = self.locked();
        let Some(record) = records.images.get_mut(id) else {
            return !records.pulling.contains_key(image);
        };
        let Some(access) = record.access.get_mut(&name(image)) else { return false };
        let Access::Owners(owners) = &*access else { return true };
        let known = |secret: &&PullSecret| {
            owners.iter().any(|owner| owner.hash == secret.hash || owner.is_same_object(secret))
        };
        let Some(secret) = secrets.iter().find(known) else { return false };
        // It counts from now on, even if the Secret that it is like changes.
        if owners.len() < REMEMBERED && access.join(Some(secret)) {
            self.save(&records);
        }
        true
    }

    /// An image is used by a new container.
    pub(crate) fn used(&self, id: &str, now: Timestamp) {
        if let Some(record) = self.locked().images.get_mut(id) {
            record.used = now;
        }
    }

    /// An image is gone.
    pub(crate) fn removed(&self, id: &str) {
        let mut records = self.locked();
        records.images.remove(id);
        self.save(&records);
    }

    /// When each image was last used.
    pub(crate) fn last_used(&self) -> HashMap<String, Timestamp> {
        self.locked().images.iter().map(|(id, record)| (id.clone(), record.used)).collect()
    }

    fn save(&self, records: &Records) {
        let Some(file) = &self.file else { return };
        let text = serde_json::to_vec(records).unwrap_or_default();
        if let Err(error) = write_whole(file, &text) {
            tracing::warn!("keep the list of pulled images: {error}");
        }
    }

    fn locked(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without tag and digest.
fn name(image: &str) -> String {
    match reference::parse(image) {
        Ok(image) => format!("{}/{}", image.registry, image.repository),
        Err(_) => image.to_owned(),
    }
}

fn write_whole(file: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    // Nobody else is to guess at what was hashed.
    let mut private = OpenOptions::new();
    private.write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(text)?;
    std::fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn secret(name: &str, hash: &str) -> PullSecret {
        let (namespace, uid) = ("shop".to_owned(), format!("uid-of-{name}"));
        PullSecret { namespace, name: name.to_owned(), uid, hash: hash.to_owned() }
    }

    #[test]
    fn the_list_survives() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("deep/images.json");
        Ledger::load(file.clone()).pulled("a", "app:1", Some(&secret("s", "x")), at(1));
        let again = Ledger::load(file);
        again.used("a", at(2));
        again.used("foreign", at(2));
        assert_eq!(again.last_used(), HashMap::from([("a".to_owned(), at(2))]));
        assert!(!again.is_for("a", "app:1", &[]) && again.is_for("a", "app:1", &[secret("s", "x")]));
        again.removed("a");
        assert!(again.is_for("a", "app:1", &[]));
    }

    #[test]
    fn images_are_for_pods_with_the_credentials_that_pulled_them() {
        let ledger = Ledger::default();
        ledger.pulled("closed", "reg.example/app:1", Some(&secret("s", "x")), at(1));
        ledger.pulled("open", "reg.example/free:1", None, at(1));
        for (id, image, secrets, expected) in [
            ("closed", "reg.example/app:1", vec![], false),
            ("closed", "reg.example/app:1", vec![secret("other", "y")], false),
            ("closed", "reg.example/app:1", vec![secret("other", "y"), secret("s", "x")], true),
            // Another tag of the same repository, the same image elsewhere.
            ("closed", "reg.example/app:2", vec![secret("s", "x")], true),
            ("closed", "other.example/app:1", vec![secret("s", "x")], false),
            // The same credential in another Secret; from then on whatever that says.
            ("closed", "reg.example/app:1", vec![secret("twin", "x")], true),
            ("closed", "reg.example/app:1", vec![secret("twin", "z")], true),
            ("closed", "reg.example/app:1", vec![secret("unknown", "z")], true),
            ("open", "reg.example/free:1", vec![], true),
            ("brought by hand", "reg.example/app:1", vec![], true),
        ] {
            assert_eq!(ledger.is_for(id, image, &secrets), expected, "{id} as {image} with {secrets:?}");
        }
        // Somebody pulls it without credentials.
        ledger.pulled("closed", "reg.example/app:1", None, at(2));
        assert!(ledger.is_for("closed", "reg.example/app:1", &[]));
    }

    #[test]
    fn an_interrupted_pull_leaves_nothing_to_everybody() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::load(dir.path().join("images.json"));
        let (first, second) = (ledger.begin("app:1"), ledger.begin("app:1"));
        drop(first);
        assert!(!ledger.is_for("a", "app:1", &[]) && ledger.is_for("a", "other:1", &[]));
        // The node is killed, and another pull of it fails.
        let after = Ledger::load(dir.path().join("images.json"));
        drop(second);
        assert!(!after.is_for("a", "app:1", &[]));
        drop(after.begin("app:1"));
        assert!(after.is_for("a", "app:1", &[]));
    }
}
