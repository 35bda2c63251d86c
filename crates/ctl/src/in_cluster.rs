//! The account of the pod that a command runs in, as the kubelet gives it to containers: variables that name the API server,
//! and a folder with a token, a certificate and the namespace.
//!
//! **Contract.** There is one where both variables are set and the token is a file. The token is read anew when it is renewed.
//! **Not here.** When it counts, and what the command line changes of it: `client_config`.
//! Impersonation is a wish about that user, so it goes to the same server (kubectl asks `localhost:8080` then).
//! **Upstream.** `client-go/rest` (`InClusterConfig`), `client-go/tools/clientcmd` (`inClusterClientConfig`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::terminal::Terminal;

/// Where kubelets put it.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    server: String,
    folder: PathBuf,
    namespace: String,
}

impl Account {
    /// The account of the pod around this process, if there is one.
    pub(crate) fn find(terminal: &Terminal) -> Option<Self> {
        Self::within(terminal, Path::new(FOLDER))
    }

    /// The same with another folder.
    pub(crate) fn within(terminal: &Terminal, folder: &Path) -> Option<Self> {
        let host = terminal.variable("KUBERNETES_SERVICE_HOST")?;
        let port = terminal.variable("KUBERNETES_SERVICE_PORT")?;
        if !folder.join("token").metadata().is_ok_and(|token| !token.is_dir()) {
            return None;
        }
        let server = match host.contains(':') {
            true => format!("https://[{host}]:{port}"),
            false => format!("https://{host}:{port}"),
        };
        let written = || {
            let text = std::fs::read_to_string(folder.join("namespace")).ok()?;
            Some(text.trim().to_owned()).filter(|name| !name.is_empty())
        };
        let namespace = terminal.variable("POD_NAMESPACE").map(str::to_owned).or_else(written);
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        Some(Self { server, folder: folder.to_owned(), namespace })
    }

    /// As a kubeconfig has a cluster. Without a certificate of its own the system's count.
    pub(crate) fn cluster(&self) -> Value {
        let authority = self.folder.join("ca.crt");
        match authority.exists() {
            true => json!({"server": self.server, "certificate-authority": authority}),
            false => json!({"server": self.server}),
        }
    }

    /// As a kubeconfig has a user.
    pub(crate) fn user(&self) -> Value {
        json!({"tokenFile": self.folder.join("token")})
    }

    /// The pod's namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn terminal(variables: &[(&str, &str)]) -> Terminal {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Terminal::new(std::io::empty(), std::io::sink(), std::io::sink(), || Timestamp::UNIX_EPOCH)
            .with_environment(variables)
    }

    #[test]
    fn a_pod_has_an_account_where_variables_and_token_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (host, port) = (("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("KUBERNETES_SERVICE_PORT", "443"));
        assert_eq!(Account::within(&terminal(&[host, port]), folder), None);
        std::fs::write(folder.join("token"), "t").expect("written");
        for variables in [vec![], vec![host], vec![port], vec![("KUBERNETES_SERVICE_HOST", ""), port]] {
            assert_eq!(Account::within(&terminal(&variables), folder), None, "{variables:?}");
        }
        let account = Account::within(&terminal(&[host, port]), folder).expect("an account");
        assert_eq!(account.cluster(), json!({"server": "https://10.96.0.1:443"}));
        assert_eq!(account.user(), json!({"tokenFile": folder.join("token")}));
        assert_eq!(account.namespace(), "default");
        std::fs::write(folder.join("ca.crt"), "c").expect("written");
        std::fs::write(folder.join("namespace"), "inner\n").expect("written");
        let six = ("KUBERNETES_SERVICE_HOST", "fd00::1");
        let account = Account::within(&terminal(&[six, port]), folder).expect("an account");
        let cluster =
            json!({"server": "https://[fd00::1]:443", "certificate-authority": folder.join("ca.crt")});
        assert_eq!((account.cluster(), account.namespace()), (cluster, "inner"));
        let told = terminal(&[host, port, ("POD_NAMESPACE", "told")]);
        assert_eq!(Account::within(&told, folder).expect("an account").namespace(), "told");
    }
}
