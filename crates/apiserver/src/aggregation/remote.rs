//! One server of a group-version, as its APIService describes it.

use super::Identity;
use crate::body::Body;
use crate::outbound::{self, Dial, HttpsClient, TlsOptions};
use crate::resources::edit::{items, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component_base::logging::Chain;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// A server.
pub(crate) struct Remote {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) port: u16,
    /// Whether it was reached when that was last tried.
    pub(super) available: bool,
    pub(super) priority: i64,
    ca: String,
    insecure: bool,
    /// Made when it is first asked.
    client: OnceLock<Result<HttpsClient<Body>, String>>,
}

impl Remote {
    /// `None`: the APIService speaks of this server.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let service = spec["service"].is_object().then_some(&spec["service"])?;
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let available = items(&object["status"], "conditions")
            .iter()
            .any(|c| c["type"] == "Available" && c["status"] == "True");
        Some(Self {
            name: text(&object["metadata"], "name").to_owned(),
            group: text(spec, "group").to_owned(),
            version: text(spec, "version").to_owned(),
            namespace: text(service, "namespace").to_owned(),
            service: text(service, "name").to_owned(),
            port: port.unwrap_or(443),
            available,
            priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            ca: text(spec, "caBundle").to_owned(),
            insecure: spec["insecureSkipTLSVerify"] == true,
            client: OnceLock::new(),
        })
    }

    /// `/apis/group/version`
    pub(super) fn path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// The name that its certificate must have.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// A path of it as an address.
    pub(super) fn url(&self, path_and_query: &str) -> String {
        format!("https://{}:{}{path_and_query}", self.host(), self.port)
    }

    /// How connections to it are secured.
    pub(super) fn tls(&self, identity: &Identity) -> Result<TlsOptions, String> {
        let ca = STANDARD.decode(&self.ca).map_err(|error| error.to_string())?;
        let ca = String::from_utf8(ca).map_err(|error| error.to_string())?;
        Ok(TlsOptions {
            ca_pem: (!ca.is_empty()).then_some(ca),
            identity: Some((identity.certificate.clone(), identity.key.clone())),
            insecure: self.insecure,
        })
    }

    /// The connections to it.
    pub(super) fn client(
        &self,
        identity: &Identity,
        services: &Arc<dyn Dial>,
    ) -> Result<&HttpsClient<Body>, String> {
        let client = self.client.get_or_init(|| {
            let client = outbound::client(&self.tls(identity)?, Arc::clone(services));
            client.map_err(|error| Chain(&error).to_string())
        });
        client.as_ref().map_err(Clone::clone)
    }
}
