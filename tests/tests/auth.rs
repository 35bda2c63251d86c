//! Who may what over the wire: next to nothing without credentials, 403 without rights, tokens of service accounts.

use std::process::Command;
use tests::profile::{Profile, Said};

fn curl(profile: &Profile, arguments: &[&str], path: &str) -> Said {
    let url = format!("https://127.0.0.1:{}{path}", profile.port);
    let ca = profile.dir().join("pki/ca.crt");
    let mut command = Command::new("curl");
    command.args(["--silent", "--cacert"]).arg(ca).args(arguments).arg(url);
    Said::of(command.output().expect("curl runs"))
}

#[test]
fn strangers_see_health_only_and_tokens_have_their_rights() {
    let profile = Profile::new("auth");
    let (policy, audit) = (profile.home().join("policy.yaml"), profile.home().join("audit.log"));
    let rules = "[{level: Metadata, resources: [{resources: [pods]}]}]";
    std::fs::write(&policy, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n"))
        .expect("written");
    let wrong = profile.start(&["--runtime", "simulated", "--extra-config", "apiserver.nonsense=x"]);
    assert!(wrong.code != 0 && wrong.stderr.contains("unknown flag: --nonsense"), "{}", wrong.stderr);
    let flag =
        |flag: &str, path: &std::path::Path| format!("--extra-config=apiserver.{flag}={}", path.display());
    let (policy, log) = (flag("audit-policy-file", &policy), flag("audit-log-path", &audit));
    profile.start(&["--runtime", "simulated", policy.as_str(), log.as_str()]).ok();

    assert_eq!(curl(&profile, &[], "/readyz").ok(), "ok");
    for path in ["/api", "/metrics"] {
        let answer: serde_json::Value = serde_json::from_str(&curl(&profile, &[], path).ok()).expect("JSON");
        let message = format!("forbidden: User \"system:anonymous\" cannot get path {path:?}");
        assert_eq!((&answer["code"], &answer["message"]), (&403.into(), &message.into()), "{path}");
    }

    let request = profile.home().join("token.json");
    let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}"#;
    std::fs::write(&request, body).expect("written");
    let pki = profile.dir().join("pki");
    let admin = |file: &str| pki.join(file).to_str().expect("a path").to_owned();
    let data = format!("@{}", request.display());
    let (cert, key) = (admin("admin.crt"), admin("admin.key"));
    let json = "Content-Type: application/json";
    let arguments = ["--cert", cert.as_str(), "--key", key.as_str(), "-H", json, "-d", data.as_str()];
    let answer = curl(&profile, &arguments, "/api/v1/namespaces/default/serviceaccounts/default/token").ok();
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let token = answer["status"]["token"].as_str().unwrap_or_else(|| panic!("no token: {answer}"));

    let bearer = format!("Authorization: Bearer {token}");
    let refused = curl(&profile, &["-H", &bearer], "/api/v1/namespaces/default/pods").ok();
    let refused: serde_json::Value = serde_json::from_str(&refused).expect("JSON");
    assert_eq!(refused["code"], 403);
    assert_eq!(
        refused["message"],
        "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API \
         group \"\" in the namespace \"default\""
    );
    let forged = format!("Authorization: Bearer {token}x");
    let forged = curl(&profile, &["-H", &forged], "/api/v1/namespaces/default/pods").ok();
    assert!(forged.contains("\"code\":401") || forged.contains("\"code\": 401"), "{forged}");

    let read = || std::fs::read_to_string(&audit).expect("an audit log");
    tests::eventually("the refusal is in the audit log", || {
        let forbid = "\"authorization.k8s.io/decision\":\"forbid\"";
        let tells =
            |line: &str| line.contains(forbid) && line.contains("system:serviceaccount:default:default");
        if read().lines().any(tells) { Ok(()) } else { Err(read()) }
    });
    let audit = read();
    assert!(!audit.contains(token), "no secret in the audit log");

    let log = std::fs::read_to_string(profile.dir().join("server.log")).expect("a log");
    assert!(!log.contains(token) && !log.contains("PRIVATE KEY"), "no secret in the log");
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
    };
    for file in ["pki/ca.key", "pki/sa.key", "pki/admin.key", "server.log", "store.redb", "profile.json"] {
        assert_eq!(mode(&profile.dir().join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&profile.kubeconfig()), 0o600);
}
