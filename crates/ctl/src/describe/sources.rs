//! Where volumes come from: those of pods, and persistent ones.

use api::quantity::Quantity;
use serde_json::Value;

use super::{items, storage, text};
use crate::output::json::sorted;
use crate::output::plain;

/// A line of a source is longer than this only before it is cut.
const MAX_ATTRIBUTE: usize = 140;

/// What a source belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A pod's volume.
    Pod,
    /// A persistent volume.
    Volume,
}

/// How a field is shown.
enum Shown {
    /// Empty where it is missing.
    Text,
    /// False where it is missing.
    Flag,
    /// 0 where it is missing.
    Number,
    /// `<none>` where it is missing.
    OrNone,
    /// `<unset>` where it is missing.
    OrUnset,
    /// `[a b]`
    List,
    /// `a, b`
    Joined,
    /// `map[a:b]`
    Map,
    /// A reference to a secret as Go shows it.
    Secret,
    /// Of a persistent volume's source only.
    OfVolume(&'static Shown),
}
use Shown::{Flag, Joined, List, Map, Number, OfVolume, OrNone, OrUnset, Secret, Text};

/// A kind of source: its field, what it is, and title and field of each line.
type Source = (&'static str, &'static str, &'static [(&'static str, &'static str, Shown)]);

/// THE LIST.
const SOURCES: &[Source] = &[
    (
        "hostPath",
        "HostPath (bare host directory volume)",
        &[("Path:", "path", Text), ("HostPathType:", "type", OrNone)],
    ),
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[("Medium:", "medium", Text)],
    ),
    (
        "gcePersistentDisk",
        "GCEPersistentDisk (a Persistent Disk resource in Google Compute Engine)",
        &[("PDName:", "pdName", Text), FS_TYPE, PARTITION, READ_ONLY],
    ),
    (
        "awsElasticBlockStore",
        "AWSElasticBlockStore (a Persistent Disk resource in AWS)",
        &[("VolumeID:", "volumeID", Text), FS_TYPE, PARTITION, READ_ONLY],
    ),
    (
        "gitRepo",
        "GitRepo (a volume that is pulled from git when the pod is created)",
        &[("Repository:", "repository", Text), ("Revision:", "revision", Text)],
    ),
    ("secret", "Secret (a volume populated by a Secret)", &[("SecretName:", "secretName", Text), OPTIONAL]),
    ("configMap", "ConfigMap (a volume populated by a ConfigMap)", &[("Name:", "name", Text), OPTIONAL]),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server:", "server", Text), ("Path:", "path", Text), READ_ONLY],
    ),
    (
        "iscsi",
        "ISCSI (an ISCSI Disk resource that is attached to a kubelet's host machine and then exposed to the pod)",
        &[
            ("TargetPortal:", "targetPortal", Text),
            ("IQN:", "iqn", Text),
            ("Lun:", "lun", Number),
            ("ISCSIInterface", "iscsiInterface", Text),
            FS_TYPE,
            READ_ONLY,
            ("Portals:", "portals", List),
            ("DiscoveryCHAPAuth:", "chapAuthDiscovery", Flag),
            ("SessionCHAPAuth:", "chapAuthSession", Flag),
            SECRET,
            ("InitiatorName:", "initiatorName", OrNone),
        ],
    ),
    (
        "glusterfs",
        "Glusterfs (a Glusterfs mount on the host that shares a pod's lifetime)",
        &[
            ("EndpointsName:", "endpoints", Text),
            ("EndpointsNamespace:", "endpointsNamespace", OfVolume(&OrUnset)),
            ("Path:", "path", Text),
            READ_ONLY,
        ],
    ),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName:", "claimName", Text), READ_ONLY],
    ),
    (
        "ephemeral",
        "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        &[],
    ),
    (
        "rbd",
        "RBD (a Rados Block Device mount on the host that shares a pod's lifetime)",
        &[
            ("CephMonitors:", "monitors", List),
            ("RBDImage:", "image", Text),
            FS_TYPE,
            ("RBDPool:", "pool", Text),
            ("RadosUser:", "user", Text),
            ("Keyring:", "keyring", Text),
            SECRET,
            READ_ONLY,
        ],
    ),
    (
        "quobyte",
        "Quobyte (a Quobyte mount on the host that shares a pod's lifetime)",
        &[("Registry:", "registry", Text), ("Volume:", "volume", Text), READ_ONLY],
    ),
    ("downwardAPI", "DownwardAPI (a volume populated by information about the pod)", &[]),
    (
        "azureDisk",
        "AzureDisk (an Azure Data Disk mount on the host and bind mount to the pod)",
        &[
            ("DiskName:", "diskName", Text),
            ("DiskURI:", "diskURI", Text),
            ("Kind: ", "kind", Text),
            FS_TYPE,
            ("CachingMode:", "cachingMode", Text),
            READ_ONLY,
        ],
    ),
    (
        "vsphereVolume",
        "vSphereVolume (a Persistent Disk resource in vSphere)",
        &[("VolumePath:", "volumePath", Text), FS_TYPE, ("StoragePolicyName:", "storagePolicyName", Text)],
    ),
    (
        "cinder",
        "Cinder (a Persistent Disk resource in OpenStack)",
        &[("VolumeID:", "volumeID", Text), FS_TYPE, READ_ONLY, SECRET],
    ),
    (
        "photonPersistentDisk",
        "PhotonPersistentDisk (a Persistent Disk resource in photon platform)",
        &[("PdID:", "pdID", Text), FS_TYPE],
    ),
    ("portworxVolume", "PortworxVolume (a Portworx Volume resource)", &[("VolumeID:", "volumeID", Text)]),
    (
        "scaleIO",
        "ScaleIO (a persistent volume backed by a block device in ScaleIO)",
        &[
            ("Gateway:", "gateway", Text),
            ("System:", "system", Text),
            ("Protection Domain:", "protectionDomain", Text),
            ("Storage Pool:", "storagePool", Text),
            ("Storage Mode:", "storageMode", Text),
            ("VolumeName:", "volumeName", Text),
            ("SecretName:", "secretRef/name", OfVolume(&Text)),
            ("SecretNamespace:", "secretRef/namespace", OfVolume(&Text)),
            FS_TYPE,
            READ_ONLY,
        ],
    ),
    (
        "local",
        "LocalVolume (a persistent volume backed by local storage on a node)",
        &[("Path:", "path", Text)],
    ),
    (
        "cephfs",
        "CephFS (a CephFS mount on the host that shares a pod's lifetime)",
        &[
            ("Monitors:", "monitors", List),
            ("Path:", "path", Text),
            ("User:", "user", Text),
            ("SecretFile:", "secretFile", Text),
            SECRET,
            READ_ONLY,
        ],
    ),
    (
        "storageos",
        "StorageOS (a StorageOS Persistent Disk resource)",
        &[
            ("VolumeName:", "volumeName", Text),
            ("VolumeNamespace:", "volumeNamespace", Text),
            FS_TYPE,
            READ_ONLY,
        ],
    ),
    (
        "fc",
        "FC (a Fibre Channel disk)",
        &[("TargetWWNs:", "targetWWNs", Joined), ("LUN:", "lun", OrNone), FS_TYPE, READ_ONLY],
    ),
    (
        "azureFile",
        "AzureFile (an Azure File Service mount on the host and bind mount to the pod)",
        &[
            ("SecretName:", "secretName", Text),
            ("SecretNamespace:", "secretNamespace", OfVolume(&Text)),
            ("ShareName:", "shareName", Text),
            READ_ONLY,
        ],
    ),
    (
        "flexVolume",
        "FlexVolume (a generic volume resource that is provisioned/attached using an exec based plugin)",
        &[("Driver:", "driver", Text), FS_TYPE, SECRET, READ_ONLY, ("Options:", "options", Map)],
    ),
    (
        "flocker",
        "Flocker (a Flocker volume mounted by the Flocker agent)",
        &[("DatasetName:", "datasetName", Text), ("DatasetUUID:", "datasetUUID", Text)],
    ),
    ("projected", "Projected (a volume that contains injected data from multiple sources)", &[]),
    (
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[
            ("Driver:", "driver", Text),
            FS_TYPE,
            ("VolumeHandle:", "volumeHandle", OfVolume(&Text)),
            READ_ONLY,
        ],
    ),
    (
        "image",
        "Image (a container image or OCI artifact)",
        &[("Reference:", "reference", Text), ("PullPolicy:", "pullPolicy", Text)],
    ),
];

const FS_TYPE: (&str, &str, Shown) = ("FSType:", "fsType", Text);
const OPTIONAL: (&str, &str, Shown) = ("Optional:", "optional", Flag);
const PARTITION: (&str, &str, Shown) = ("Partition:", "partition", Number);
const READ_ONLY: (&str, &str, Shown) = ("ReadOnly:", "readOnly", Flag);
const SECRET: (&str, &str, Shown) = ("SecretRef:", "secretRef", Secret);

/// The lines of a volume's source.
pub(super) fn lines(volume: &Value, of: Of) -> Option<String> {
    let (field, kind, fields) = SOURCES.iter().find(|(field, _, _)| volume[*field].is_object())?;
    let source = &volume[*field];
    let mut out = format!("    Type:\t{kind}\n");
    for (title, path, shown) in *fields {
        if matches!(shown, OfVolume(_)) && of == Of::Pod {
            continue;
        }
        let value = path.split('/').fold(source, |value, part| &value[part]);
        out += &format!("    {title}\t{}\n", value_text(value, shown, of));
    }
    Some(out + &more_of(field, source))
}

fn value_text(value: &Value, shown: &Shown, of: Of) -> String {
    let list = || value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    match shown {
        Text => value.as_str().unwrap_or("").to_owned(),
        Flag => value.as_bool().unwrap_or(false).to_string(),
        Number => value.as_i64().unwrap_or(0).to_string(),
        OrNone | OrUnset if !value.is_null() => plain(value),
        OrNone => "<none>".to_owned(),
        OrUnset => "<unset>".to_owned(),
        List => format!("[{}]", list().join(" ")),
        Joined => list().join(", "),
        Map => {
            let pairs = value.as_object().map(sorted).unwrap_or_default();
            let pairs: Vec<String> = pairs
                .into_iter()
                .map(|(key, value)| format!("{key}:{}", value.as_str().unwrap_or("")))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        Secret if !value.is_object() => "nil".to_owned(),
        Secret if of == Of::Pod => format!("&LocalObjectReference{{Name:{},}}", text(value, "name")),
        OfVolume(shown) => value_text(value, shown, of),
        Secret => {
            let (name, namespace) = (text(value, "name"), text(value, "namespace"));
            format!("&SecretReference{{Name:{name},Namespace:{namespace},}}")
        }
    }
}

/// What is no plain field.
fn more_of(field: &str, source: &Value) -> String {
    match field {
        "emptyDir" => {
            let size = source["sizeLimit"].as_str().filter(|size| {
                size.parse::<Quantity>().is_ok_and(|size| !size.is_zero() && !size.is_negative())
            });
            format!("    SizeLimit:\t{}\n", size.unwrap_or("<unset>"))
        }
        "downwardAPI" => downward(source),
        "projected" => projected(source),
        "csi" => attributes(&source["volumeAttributes"]),
        "ephemeral" if source["volumeClaimTemplate"].is_object() => {
            storage::claim_of_volume(&source["volumeClaimTemplate"])
        }
        _ => String::new(),
    }
}

fn downward(source: &Value) -> String {
    let mut out = "    Items:\n".to_owned();
    for item in items(source, "items") {
        for (reference, field) in [("fieldRef", "fieldPath"), ("resourceFieldRef", "resource")] {
            if item[reference].is_object() {
                out += &format!("      {} -> {}\n", text(&item[reference], field), text(item, "path"));
            }
        }
    }
    out
}

fn projected(source: &Value) -> String {
    let mut out = String::new();
    for one in items(source, "sources") {
        let optional = |of: &Value| of["optional"].as_bool().unwrap_or(false);
        let (secret, map) = (&one["secret"], &one["configMap"]);
        if secret.is_object() {
            out +=
                &format!("    SecretName:\t{}\n    Optional:\t{}\n", text(secret, "name"), optional(secret));
        } else if one["downwardAPI"].is_object() {
            out += "    DownwardAPI:\ttrue\n";
        } else if map.is_object() {
            out += &format!("    ConfigMapName:\t{}\n    Optional:\t{}\n", text(map, "name"), optional(map));
        } else if one["serviceAccountToken"].is_object() {
            let seconds = one["serviceAccountToken"]["expirationSeconds"].as_i64().unwrap_or(0);
            out += &format!("    TokenExpirationSeconds:\t{seconds}\n");
        }
    }
    out
}

/// What a driver is told, with the indents that kubectl gives it.
fn attributes(map: &Value) -> String {
    let all = map.as_object().map(sorted).unwrap_or_default();
    if all.is_empty() {
        return "    VolumeAttributes:\t<none>\n".to_owned();
    }
    let line = |(key, value): (&String, &Value)| {
        let whole = format!("{key}={}", value.as_str().unwrap_or(""));
        if whole.len() <= MAX_ATTRIBUTE { whole } else { super::shorten(&whole, MAX_ATTRIBUTE) }
    };
    let lines: Vec<String> = all.into_iter().map(line).collect();
    format!("    VolumeAttributes:\t    {}\n", lines.join("\n        \t    "))
}
