//! A remote service that is asked about tokens or about rights, or is told what was done, as a kubeconfig file describes it.
//!
//! **Contract**: what fails in a way that may pass is tried again; answers are remembered for as long as configured.
//! **Upstream**: `k8s.io/apiserver/pkg/util/webhook`, `plugin/pkg/{authenticator/token,authorizer}/webhook`.

use crate::outbound::{Outbound, TlsOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component_base::Clock;
use component_base::logging::Chain;
use http::header;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// **Upstream**: `DefaultRetryBackoff`: 500 ms, times 1.5, five tries.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Answers that are remembered.
const ANSWERS_MOST: usize = 8192;

/// The part of a kubeconfig that says where a service is and who we are to it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct KubeConfig {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<Named>,
    #[serde(default)]
    clusters: Vec<Named>,
    #[serde(default)]
    users: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    value: HashMap<String, Value>,
}

/// A remote service.
pub(crate) struct Webhook {
    server: String,
    authorization: Option<String>,
    outbound: Outbound,
    timeout: Duration,
    first_pause: Duration,
    clock: Clock,
}

impl Webhook {
    /// As the file says.
    pub(crate) fn open(file: &Path, timeout: Duration, clock: Clock) -> Result<Self, String> {
        let named = |why: String| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let config: KubeConfig = serde_saphyr::from_str(&text).map_err(|error| named(error.to_string()))?;
        Self::configured(&config, folder, timeout, clock).map_err(named)
    }

    fn configured(
        config: &KubeConfig,
        folder: &Path,
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, String> {
        let find = |list: &[Named], kind: &str, name: &str| {
            let found = list.iter().find(|entry| entry.name == name);
            let body = found.and_then(|entry| entry.value.get(kind).cloned());
            body.ok_or_else(|| format!("{kind} {name:?} does not exist"))
        };
        let context = match config.current_context.as_str() {
            "" => Value::Null,
            name => find(&config.contexts, "context", name)?,
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let cluster = match (text(&context["cluster"]), config.clusters.as_slice()) {
            (name, [only]) if name.is_empty() => only.value.get("cluster").cloned().unwrap_or_default(),
            (name, _) => find(&config.clusters, "cluster", &name)?,
        };
        let user = match text(&context["user"]) {
            name if name.is_empty() => Value::Null,
            name => find(&config.users, "user", &name)?,
        };
        let server = text(&cluster["server"]);
        if !server.starts_with("https://") {
            return Err(format!("server {server:?} is not an https address"));
        }
        if cluster["insecure-skip-tls-verify"] == true {
            return Err("insecure-skip-tls-verify is not supported".to_owned());
        }
        if !user["exec"].is_null() || !user["auth-provider"].is_null() {
            return Err("credentials from programs are not supported".to_owned());
        }
        // A value in the file itself, or the name of another.
        let read = |from: &Value, inline: &str, named: &str| -> Result<Option<String>, String> {
            if let Some(data) = from[inline].as_str().filter(|data| !data.is_empty()) {
                let bytes = STANDARD.decode(data).map_err(|error| format!("{inline}: {error}"))?;
                return String::from_utf8(bytes).map(Some).map_err(|error| format!("{inline}: {error}"));
            }
            let Some(path) = from[named].as_str().filter(|path| !path.is_empty()) else { return Ok(None) };
            let path: PathBuf = folder.join(path);
            std::fs::read_to_string(&path).map(Some).map_err(|error| format!("{}: {error}", path.display()))
        };
        let certificate = read(&user, "client-certificate-data", "client-certificate")?;
        let key = read(&user, "client-key-data", "client-key")?;
        let token = match user["token"].as_str() {
            Some(token) => Some(token.to_owned()),
            None => read(&user, "", "tokenFile")?,
        };
        let authorization = match (token, user["username"].as_str(), user["password"].as_str()) {
            (Some(token), _, _) => Some(format!("Bearer {}", token.trim())),
            (None, Some(name), Some(password)) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
            }
            _ => None,
        };
        let tls = TlsOptions {
            ca_pem: read(&cluster, "certificate-authority-data", "certificate-authority")?,
            identity: certificate.zip(key),
            insecure: false,
        };
        let outbound = Outbound::new(&tls).map_err(|error| Chain(&error).to_string())?;
        Ok(Self { server, authorization, outbound, timeout, first_pause: FIRST_PAUSE, clock })
    }

    /// The same with another pause before it is tried again.
    pub(crate) fn first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }

    /// Sends a review and returns it with its answer.
    pub(super) async fn ask(&self, review: &Value) -> Result<Value, String> {
        let answer = self.send(review).await?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }

    /// Sends an object; the answer is whatever it is.
    pub(crate) async fn send(&self, object: &Value) -> Result<Bytes, String> {
        let body = Bytes::from(object.to_string());
        let mut pause = self.first_pause;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = http::Request::post(&self.server)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json");
            if let Some(authorization) = &self.authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let failure = match self.outbound.send(request, body.clone(), self.timeout).await {
                Ok(answer) if (200..300).contains(&answer.code) => {
                    return Ok(answer.body);
                }
                Ok(answer) if answer.code == 429 || answer.code >= 500 => {
                    format!("it answers {}", answer.code)
                }
                Ok(answer) => return Err(format!("it answers {}", answer.code)),
                Err(error) => Chain(&error).to_string(),
            };
            if tries == TRIES {
                return Err(failure);
            }
            self.clock.sleep(pause).await;
            pause = pause.mul_f64(1.5);
        }
    }
}

/// Answers that are remembered for a time.
pub(super) struct Answers<T>(Mutex<HashMap<String, (Instant, T)>>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Answers<T> {
    pub(super) fn get(&self, question: &str, now: Instant) -> Option<T> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(question).filter(|(until, _)| *until > now).map(|(_, answer)| answer.clone())
    }

    pub(super) fn put(&self, question: String, answer: T, now: Instant, lifetime: Duration) {
        if lifetime.is_zero() {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MOST {
            answers.retain(|_, (until, _)| *until > now);
            if answers.len() >= ANSWERS_MOST {
                answers.clear();
            }
        }
        answers.insert(question, (now + lifetime, answer));
    }
}
