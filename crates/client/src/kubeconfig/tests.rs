//! Tests of `kubeconfig`.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn entry() -> Entry {
    Entry {
        name: "minik".to_owned(),
        server: "https://127.0.0.1:6443".to_owned(),
        certificate_authority_data: "QUJD".repeat(100),
        client_certificate_data: "REVG".repeat(100),
        client_key_data: "R0hJ".repeat(100),
        namespace: Some("default".to_owned()),
    }
}

const THEIRS: &str = r#"apiVersion: v1
kind: Config
current-context: prod
preferences: {colors: true}
x-unknown: {keep: [1, "0644", "yes", null]}
clusters:
- name: prod
  cluster: {server: "https://prod", insecure-skip-tls-verify: true, extensions: [{name: e, extension: {a: 1}}]}
contexts:
- name: prod
  context: {cluster: prod, user: me, namespace: web}
users:
- name: me
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: ["--region", "1e3", "on"]}
- name: numbers
  user: {username: "123", password: "1:2", token: "~"}
"#;

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn what_others_wrote_stays_and_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    fs::write(&path, THEIRS).unwrap();
    let before = read(&path);
    install(&path, &entry()).unwrap();
    install(&path, &entry()).unwrap();
    let merged = read(&path);
    assert_eq!(merged["current-context"], "minik");
    assert_eq!(merged["clusters"].as_array().unwrap().len(), 2);
    assert_eq!(merged["x-unknown"], before["x-unknown"]);
    assert_eq!(merged["users"][0], before["users"][0]);
    assert_eq!(merged["users"][1], before["users"][1]);
    assert_eq!(merged["users"][2]["user"]["client-key-data"], entry().client_key_data);
    assert_eq!(merged["contexts"][1]["context"]["namespace"], "default");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    uninstall(&path, "minik").unwrap();
    let mut expected = before;
    expected["current-context"] = json!("");
    assert_eq!(read(&path), expected);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no lock, no temporary file");
}

#[test]
fn a_new_file_is_what_kube_and_kubectl_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er/config");
    install(&path, &entry()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&format!("client-key-data: {}\n", entry().client_key_data)), "{text}");
    let config = kube::config::Kubeconfig::read_from(&path).unwrap();
    assert_eq!(config.current_context.as_deref(), Some("minik"));
    assert_eq!(
        config.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
        Some("https://127.0.0.1:6443")
    );
    assert_eq!(config.auth_infos.len(), 1);
}

#[test]
fn another_current_context_stays_current_when_ours_goes() {
    let mut config = merge(serde_saphyr::from_str(THEIRS).unwrap(), &entry()).unwrap();
    config["current-context"] = json!("prod");
    assert_eq!(remove(config, "minik").unwrap()["current-context"], "prod");
}

#[test]
fn what_is_not_a_kubeconfig_is_never_overwritten() {
    for text in ["a: [", "- 1\n", "just text", "kind: Pod\napiVersion: v1\n", "clusters: 5\n"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(&path, text).unwrap();
        let error = install(&path, &entry()).unwrap_err();
        assert!(matches!(error, Error::NotAKubeconfig { .. }), "{text}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn empty_files_and_null_lists_are_filled() {
    for text in ["", "\n", "clusters: null\ncontexts: []\nusers:\n"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(&path, text).unwrap();
        install(&path, &entry()).unwrap();
        assert_eq!(read(&path)["users"][0]["name"], "minik", "{text:?}");
    }
}

#[test]
fn a_locked_file_is_left_alone_and_says_whose_lock_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    fs::write(directory.path().join("config.lock"), "").unwrap();
    let error = install(&path, &entry()).unwrap_err().to_string();
    assert!(error.contains("is locked by another process") && error.contains("config.lock"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_link_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("real"), directory.path().join("config"));
    fs::write(&path, THEIRS).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    install(&link, &entry()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read(&path)["current-context"], "minik");
}

#[test]
fn the_target_is_the_first_file_of_the_variable_or_the_default() {
    let default = Path::new("/home/me/.kube/config");
    for (variable, wanted) in [
        (None, "/home/me/.kube/config"),
        (Some(""), "/home/me/.kube/config"),
        (Some("/a:/b"), "/a"),
        (Some(":/b"), "/b"),
    ] {
        assert_eq!(target(variable, default), Path::new(wanted), "{variable:?}");
    }
}
