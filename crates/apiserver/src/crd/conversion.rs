//! Objects of one version as another has them, by a webhook.
//!
//! **Contract**: objects that are in the wanted version already are not sent. Of what comes back, identity and everything
//! else in `metadata` but labels and annotations is as it was sent.
//! **Upstream**: `apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`.

use super::definition::Definition;
use crate::admission::webhook_url;
use crate::outbound::{self, Dial, Outbound, TlsOptions};
use crate::registry::metadata;
use api::field::ErrorList;
use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component_base::Rng;
use component_base::logging::Chain;
use http::header;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// **Upstream**: the timeout of `webhook.ClientManager`'s clients.
const TIMEOUT: Duration = Duration::from_secs(30);
const GROUP: &str = "apiextensions.k8s.io";

/// What is needed to reach webhooks.
#[derive(Clone)]
pub(crate) struct Outward {
    /// The way to Services of the cluster.
    pub(crate) services: Arc<dyn Dial>,
    pub(crate) rng: Rng,
}

/// A webhook that converts.
pub(crate) struct Converter {
    url: String,
    ca: String,
    is_service: bool,
    /// The version of reviews that it is sent.
    review: Option<&'static str>,
    outward: Outward,
    /// Made when it is first asked.
    client: OnceLock<Result<Outbound, String>>,
}

impl Converter {
    /// The one of a definition; `None`: versions differ in name only.
    pub(super) fn of(definition: &Definition, outward: &Outward) -> Option<Arc<Self>> {
        if definition.conversion.strategy != "Webhook" {
            return None;
        }
        let (webhook, client) =
            (&definition.conversion.webhook, &definition.conversion.webhook["clientConfig"]);
        let versions = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        Some(Arc::new(Self {
            url: webhook_url(client),
            ca: client["caBundle"].as_str().unwrap_or_default().to_owned(),
            is_service: client["service"].is_object(),
            review: versions.into_iter().find_map(|version| match version.as_str() {
                Some("v1") => Some("v1"),
                Some("v1beta1") => Some("v1beta1"),
                _ => None,
            }),
            outward: outward.clone(),
            client: OnceLock::new(),
        }))
    }

    /// The objects in the wanted version, in their order.
    pub(super) async fn convert(&self, objects: Vec<Value>, wanted: &str) -> Result<Vec<Value>, Status> {
        let foreign = |object: &&Value| object["apiVersion"] != wanted;
        let sent: Vec<&Value> = objects.iter().filter(foreign).collect();
        let Some(first) = sent.first() else { return Ok(objects) };
        let from = described(first);
        let failed = |why: String| Status::new(500, "", format!("conversion webhook for {from} {why}"));
        let converted = self.ask(&sent, wanted).await.map_err(|why| failed(format!("failed: {why}")))?;
        if converted.len() != sent.len() {
            let (got, expected) = (converted.len(), sent.len());
            return Err(failed(format!("returned {got} objects, expected {expected}")));
        }
        let mut converted = converted.into_iter().enumerate();
        let take_over = |object: Value| {
            if object["apiVersion"] == wanted {
                return Ok(object);
            }
            let Some((index, mut new)) = converted.next() else { return Ok(object) };
            let why =
                |why: String| failed(format!("returned invalid converted object at index {index}: {why}"));
            check(&object, &new, wanted).map_err(why)?;
            restore(&object, &mut new).map_err(|why| {
                failed(format!("returned invalid metadata in object at index {index}: {why}"))
            })?;
            Ok(new)
        };
        objects.into_iter().map(take_over).collect()
    }

    async fn ask(&self, objects: &[&Value], wanted: &str) -> Result<Vec<Value>, String> {
        let version = self.review.ok_or("no supported conversion review versions")?;
        let api_version = format!("{GROUP}/{version}");
        let uid = self.outward.rng.uuid();
        let review = json!({"kind": "ConversionReview", "apiVersion": api_version,
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects}});
        let url = format!("{}?timeout={}s", self.url, TIMEOUT.as_secs());
        let request = http::Request::post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver");
        let answer = self.client()?.send(request, Bytes::from(review.to_string()), TIMEOUT).await;
        let answer = answer.map_err(|error| format!("Post {url:?}: {}", outbound::in_gos_words(&error)))?;
        if !(200..=206).contains(&answer.code) {
            return Err(answer.failure());
        }
        let mut review: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let response = review["response"].take();
        if version == "v1" {
            if review["kind"] != "ConversionReview" || review["apiVersion"] != *api_version {
                let got = described(&review);
                return Err(format!(
                    "expected webhook response of {api_version}, Kind=ConversionReview, got {got}"
                ));
            }
            if !response.is_null() && response["uid"] != *uid {
                let got = response["uid"].as_str().unwrap_or_default();
                return Err(format!("expected response.uid={uid:?}, got {got:?}"));
            }
        }
        if response.is_null() {
            return Err("no response provided".to_owned());
        }
        let (status, message) = (&response["result"]["status"], &response["result"]["message"]);
        if status != "Success" {
            return Err(match message.as_str() {
                Some(message) if !message.is_empty() => message.to_owned(),
                _ => format!(
                    "response.result.status was '{}', not 'Success'",
                    status.as_str().unwrap_or_default()
                ),
            });
        }
        match review_objects(response) {
            Value::Array(objects) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }

    fn client(&self) -> Result<&Outbound, String> {
        let client = self.client.get_or_init(|| {
            let ca = STANDARD.decode(&self.ca).map_err(|error| error.to_string())?;
            let ca = String::from_utf8(ca).map_err(|error| error.to_string())?;
            let options = TlsOptions { ca_pem: (!ca.is_empty()).then_some(ca), ..TlsOptions::default() };
            let client = match self.is_service {
                true => Outbound::through(&options, Arc::clone(&self.outward.services)),
                false => Outbound::new(&options),
            };
            client.map_err(|error| Chain(&error).to_string())
        });
        client.as_ref().map_err(Clone::clone)
    }
}

fn review_objects(mut response: Value) -> Value {
    response["convertedObjects"].take()
}

/// `example.com/v1, Kind=Widget`.
fn described(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    format!("{}, Kind={}", text("apiVersion"), text("kind"))
}

/// Whether an object is what it is to be.
fn check(sent: &Value, got: &Value, wanted: &str) -> Result<(), String> {
    if got["apiVersion"] != wanted {
        let received = got["apiVersion"].as_str().unwrap_or_default();
        return Err(format!("invalid groupVersion (expected {wanted}, received {received})"));
    }
    if sent["kind"] != got["kind"] {
        let text = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
        return Err(format!("invalid kind (expected {}, received {})", text(sent), text(got)));
    }
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let text = |object: &Value| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (before, after) = (text(sent), text(got));
        if before != after {
            return Err(format!("must have the same {name}: {before} != {after}"));
        }
    }
    Ok(())
}

/// Gives an object the metadata that it had, but for labels and annotations.
fn restore(sent: &Value, got: &mut Value) -> Result<(), String> {
    let errors: ErrorList = metadata::validate_collections(
        &json!({"metadata": {"labels": got["metadata"]["labels"],
            "annotations": got["metadata"]["annotations"]}}),
        &api::field::Path::new("metadata"),
    );
    if let Some(error) = errors.first() {
        return Err(error.to_string());
    }
    let mut kept = sent["metadata"].clone();
    for field in ["labels", "annotations"] {
        let new = got["metadata"][field].take();
        if let Some(kept) = kept.as_object_mut() {
            match new.as_object().is_some_and(|fields| !fields.is_empty()) {
                true => drop(kept.insert(field.to_owned(), new)),
                false => drop(kept.shift_remove(field)),
            }
        }
    }
    got["metadata"] = kept;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_the_same_object() {
        let sent = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "uid": "u", "generation": 2,
            "labels": {"a": "b"}}});
        let mut good = json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "a", "uid": "u", "generation": 9,
            "annotations": {"c": "d"}}, "spec": {}});
        assert_eq!(check(&sent, &good, "g/v2"), Ok(()));
        restore(&sent, &mut good).unwrap();
        assert_eq!(
            good["metadata"],
            json!({"name": "a", "uid": "u", "generation": 2, "annotations": {"c": "d"}})
        );
        let table = [
            ("apiVersion", json!("g/v3"), "invalid groupVersion (expected g/v2, received g/v3)"),
            ("kind", json!("L"), "invalid kind (expected K, received L)"),
            ("metadata", json!({"name": "b", "uid": "u"}), "must have the same name: a != b"),
        ];
        for (field, value, why) in table {
            let mut bad = good.clone();
            bad[field] = value;
            assert_eq!(check(&sent, &bad, "g/v2"), Err(why.to_owned()));
        }
    }
}
