//! Which fields hold names, labels, annotations, images and replicas of the built-in kinds, and what `configurations` add.
//!
//! **Upstream.** `kustomize/api/internal/konfig/builtinpluginconsts`: the same fields, made of fewer words.

use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// A field of a kind; what is empty is any.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct FieldSpec {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) path: String,
    /// Makes the field where it is missing.
    pub(crate) create: bool,
}

/// The fields that hold names of a kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct NameReference {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) field_specs: Vec<FieldSpec>,
}

/// All of it; what a file of `configurations` may say, too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) name_prefix: Vec<FieldSpec>,
    pub(crate) name_suffix: Vec<FieldSpec>,
    pub(crate) namespace: Vec<FieldSpec>,
    /// Of every label, selectors or not.
    pub(crate) labels: Vec<FieldSpec>,
    pub(crate) common_labels: Vec<FieldSpec>,
    pub(crate) template_labels: Vec<FieldSpec>,
    pub(crate) common_annotations: Vec<FieldSpec>,
    pub(crate) name_reference: Vec<NameReference>,
    pub(crate) images: Vec<FieldSpec>,
    pub(crate) replicas: Vec<FieldSpec>,
}

impl Config {
    /// Reads a file of `configurations`.
    pub(crate) fn read(document: Value, path: &str) -> Result<Self, Error> {
        serde_json::from_value(document)
            .map_err(|error| Error::Invalid(format!("configuration {path}: {error}")))
    }

    /// Adds what another says.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, more) in [
            (&mut self.name_prefix, &other.name_prefix),
            (&mut self.name_suffix, &other.name_suffix),
            (&mut self.namespace, &other.namespace),
            (&mut self.labels, &other.labels),
            (&mut self.common_labels, &other.common_labels),
            (&mut self.template_labels, &other.template_labels),
            (&mut self.common_annotations, &other.common_annotations),
            (&mut self.images, &other.images),
            (&mut self.replicas, &other.replicas),
        ] {
            for one in more {
                if !own.contains(one) {
                    own.push(one.clone());
                }
            }
        }
        self.name_reference.extend(other.name_reference.iter().cloned());
    }

    /// What holds for the built-in kinds.
    pub(crate) fn built_in() -> Self {
        let mut template_labels = metadata("labels");
        template_labels.push(spec(
            "apps",
            "StatefulSet",
            "spec/volumeClaimTemplates[]/metadata/labels",
            true,
        ));
        let mut common_labels = selectors();
        common_labels.extend(template_labels.iter().cloned());
        Self {
            name_prefix: vec![spec("", "", "metadata/name", false)],
            name_suffix: vec![spec("", "", "metadata/name", false)],
            namespace: vec![
                spec("", "Namespace", "metadata/name", true),
                spec("apiregistration.k8s.io", "APIService", "spec/service/namespace", true),
                spec(
                    "apiextensions.k8s.io",
                    "CustomResourceDefinition",
                    "spec/conversion/webhook/clientConfig/service/namespace",
                    false,
                ),
            ],
            labels: Vec::new(),
            common_labels,
            template_labels,
            common_annotations: metadata("annotations"),
            name_reference: name_references(),
            images: images(),
            replicas: ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"]
                .map(|kind| spec("", kind, "spec/replicas", true))
                .into(),
        }
    }
}

fn spec(group: &str, kind: &str, path: &str, create: bool) -> FieldSpec {
    FieldSpec {
        group: group.to_owned(),
        version: String::new(),
        kind: kind.to_owned(),
        path: path.to_owned(),
        create,
    }
}

/// `metadata.labels` or `metadata.annotations` of objects and of their templates.
fn metadata(field: &str) -> Vec<FieldSpec> {
    let mut found = vec![spec("", "", &format!("metadata/{field}"), true)];
    for (group, kind, path) in [
        ("", "ReplicationController", "spec/template"),
        ("", "Deployment", "spec/template"),
        ("", "ReplicaSet", "spec/template"),
        ("", "DaemonSet", "spec/template"),
        ("", "StatefulSet", "spec/template"),
        ("batch", "Job", "spec/template"),
        ("batch", "CronJob", "spec/jobTemplate"),
        ("batch", "CronJob", "spec/jobTemplate/spec/template"),
    ] {
        found.push(spec(group, kind, &format!("{path}/metadata/{field}"), true));
    }
    found
}

/// Selectors of pods.
fn selectors() -> Vec<FieldSpec> {
    const TERMS: [&str; 5] = [
        "affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
        "affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
        "affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
        "affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
        "topologySpreadConstraints/labelSelector/matchLabels",
    ];
    let mut found = vec![
        FieldSpec { version: "v1".to_owned(), ..spec("", "Service", "spec/selector", true) },
        FieldSpec { version: "v1".to_owned(), ..spec("", "ReplicationController", "spec/selector", true) },
        spec("", "Deployment", "spec/selector/matchLabels", true),
        spec("", "ReplicaSet", "spec/selector/matchLabels", true),
        spec("", "DaemonSet", "spec/selector/matchLabels", true),
        spec("apps", "StatefulSet", "spec/selector/matchLabels", true),
        spec("batch", "Job", "spec/selector/matchLabels", false),
        spec("batch", "CronJob", "spec/jobTemplate/spec/selector/matchLabels", false),
        spec("policy", "PodDisruptionBudget", "spec/selector/matchLabels", false),
    ];
    for path in ["podSelector", "ingress/from/podSelector", "egress/to/podSelector"] {
        let path = format!("spec/{path}/matchLabels");
        found.push(spec("networking.k8s.io", "NetworkPolicy", &path, false));
    }
    for kind in ["Deployment", "StatefulSet"] {
        for term in TERMS {
            found.push(spec("apps", kind, &format!("spec/template/spec/{term}"), false));
        }
    }
    found
}

fn images() -> Vec<FieldSpec> {
    let mut found = Vec::new();
    for pod in ["spec", "spec/template/spec"] {
        for path in ["containers[]/image", "initContainers[]/image", "volumes[]/image/reference"] {
            found.push(spec("", "", &format!("{pod}/{path}"), true));
        }
    }
    found
}

/// Kinds with a pod's specification, and where it is.
const PODS: [(&str, &str); 8] = [
    ("Pod", "spec"),
    ("PodTemplate", "template/spec"),
    ("Deployment", "spec/template/spec"),
    ("ReplicaSet", "spec/template/spec"),
    ("DaemonSet", "spec/template/spec"),
    ("StatefulSet", "spec/template/spec"),
    ("Job", "spec/template/spec"),
    ("CronJob", "spec/jobTemplate/spec/template/spec"),
];

/// The same for names that upstream knows in fewer kinds.
const SOME_PODS: [(&str, &str); 7] = [
    ("Pod", "spec"),
    ("StatefulSet", "spec/template/spec"),
    ("Deployment", "spec/template/spec"),
    ("ReplicationController", "spec/template/spec"),
    ("CronJob", "spec/jobTemplate/spec/template/spec"),
    ("Job", "spec/template/spec"),
    ("DaemonSet", "spec/template/spec"),
];

fn name_references() -> Vec<NameReference> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    const HOOKS: &str = "admissionregistration.k8s.io";
    let in_pods = |pods: &[(&str, &str)], paths: &[&str]| -> Vec<FieldSpec> {
        let all =
            pods.iter().flat_map(|(kind, pod)| paths.iter().map(move |path| (kind, format!("{pod}/{path}"))));
        all.map(|(kind, path)| spec("", kind, &path, false)).collect()
    };
    let at = |list: &[(&str, &str, &str)]| -> Vec<FieldSpec> {
        list.iter().map(|(group, kind, path)| spec(group, kind, path, false)).collect()
    };
    let of = |group: &str, version: &str, kind: &str, field_specs: Vec<FieldSpec>| NameReference {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        field_specs,
    };
    let mut all: Vec<NameReference> = ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"]
        .into_iter()
        .map(|kind| of("", "", kind, at(&[("", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name")])))
        .collect();

    let mut maps = in_pods(
        &PODS,
        &[
            "volumes/configMap/name",
            "containers/env/valueFrom/configMapKeyRef/name",
            "initContainers/env/valueFrom/configMapKeyRef/name",
            "containers/envFrom/configMapRef/name",
            "initContainers/envFrom/configMapRef/name",
            "volumes/projected/sources/configMap/name",
        ],
    );
    maps.extend(at(&[
        ("", "Node", "spec/configSource/configMap"),
        ("", "Role", "rules/resourceNames"),
        ("", "ClusterRole", "rules/resourceNames"),
        ("", "Ingress", r"metadata/annotations/nginx.ingress.kubernetes.io\/fastcgi-params-configmap"),
    ]));
    all.push(of("", "v1", "ConfigMap", maps));

    let mut secrets = in_pods(
        &PODS,
        &[
            "volumes/secret/secretName",
            "containers/env/valueFrom/secretKeyRef/name",
            "initContainers/env/valueFrom/secretKeyRef/name",
            "containers/envFrom/secretRef/name",
            "initContainers/envFrom/secretRef/name",
            "imagePullSecrets/name",
            "volumes/projected/sources/secret/name",
        ],
    );
    secrets.extend(at(&[
        ("", "Ingress", "spec/tls/secretName"),
        ("", "Ingress", r"metadata/annotations/ingress.kubernetes.io\/auth-secret"),
        ("", "Ingress", r"metadata/annotations/nginx.ingress.kubernetes.io\/auth-secret"),
        ("", "Ingress", r"metadata/annotations/nginx.ingress.kubernetes.io\/auth-tls-secret"),
        ("", "ServiceAccount", "imagePullSecrets/name"),
        ("", "StorageClass", "parameters/secretName"),
        ("", "StorageClass", "parameters/adminSecretName"),
        ("", "StorageClass", "parameters/userSecretName"),
        ("", "StorageClass", "parameters/secretRef"),
        ("", "Role", "rules/resourceNames"),
        ("", "ClusterRole", "rules/resourceNames"),
        ("serving.knative.dev", "Service", "spec/template/spec/containers/env/valueFrom/secretKeyRef/name"),
        ("", "PersistentVolume", "spec/azureFile/secretName"),
    ]));
    all.push(of("", "v1", "Secret", secrets));

    let services = at(&[
        ("apps", "StatefulSet", "spec/serviceName"),
        ("", "Ingress", "spec/rules/http/paths/backend/serviceName"),
        ("", "Ingress", "spec/backend/serviceName"),
        ("", "Ingress", "spec/rules/http/paths/backend/service/name"),
        ("", "Ingress", "spec/defaultBackend/service/name"),
        ("apiregistration.k8s.io", "APIService", "spec/service/name"),
        (HOOKS, "ValidatingWebhookConfiguration", "webhooks/clientConfig/service"),
        (HOOKS, "MutatingWebhookConfiguration", "webhooks/clientConfig/service"),
    ]);
    all.push(of("", "v1", "Service", services));
    all.push(of(RBAC, "", "Role", at(&[(RBAC, "RoleBinding", "roleRef/name")])));
    let bound = at(&[(RBAC, "RoleBinding", "roleRef/name"), (RBAC, "ClusterRoleBinding", "roleRef/name")]);
    all.push(of(RBAC, "", "ClusterRole", bound));

    let mut accounts = at(&[(RBAC, "RoleBinding", "subjects"), (RBAC, "ClusterRoleBinding", "subjects")]);
    accounts.extend(in_pods(&SOME_PODS, &["serviceAccountName"]));
    all.push(of("", "v1", "ServiceAccount", accounts));
    let claims = in_pods(&SOME_PODS, &["volumes/persistentVolumeClaim/claimName"]);
    all.push(of("", "v1", "PersistentVolumeClaim", claims));
    let volumes =
        at(&[("", "PersistentVolumeClaim", "spec/volumeName"), ("", "ClusterRole", "rules/resourceNames")]);
    all.push(of("", "v1", "PersistentVolume", volumes));
    let classes = at(&[
        ("", "PersistentVolume", "spec/storageClassName"),
        ("", "PersistentVolumeClaim", "spec/storageClassName"),
        ("", "StatefulSet", "spec/volumeClaimTemplates/spec/storageClassName"),
    ]);
    all.push(of("storage.k8s.io", "v1", "StorageClass", classes));
    all.push(of("scheduling.k8s.io", "v1", "PriorityClass", in_pods(&SOME_PODS, &["priorityClassName"])));
    all.push(of("networking.k8s.io", "v1", "IngressClass", at(&[("", "Ingress", "spec/ingressClassName")])));
    let policies = at(&[(HOOKS, "ValidatingAdmissionPolicyBinding", "spec/policyName")]);
    all.push(of(HOOKS, "", "ValidatingAdmissionPolicy", policies));
    all
}
