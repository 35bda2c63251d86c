//! Secret: confidential data as keys and base64 values.
//!
//! **Contract**: `stringData` is write-only; it is merged into `data` before anything else sees the object.
//! **Upstream**: `pkg/registry/core/secret`.

use super::config_map::{MAX_DATA, check_immutable};
use crate::registry::{Cell, Column, Strategy};
use crate::resources::edit::{entries, text};
use crate::resources::{cells, check, edit};
use api::field::{Error, ErrorList, Path};
use api::kind::{Resource, Scope};
use api::well_known::annotation;
use api::{meta, names};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The strategy of Secrets.
pub(crate) struct Secret(Resource);

impl Secret {
    pub(crate) fn new() -> Self {
        Self(Resource::new("", "v1", "Secret", "secrets", "secret", Scope::Namespaced))
    }
}

/// The keys that a type of Secret needs.
fn required_keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    }
}

fn check_type(errors: &mut ErrorList, object: &Value) {
    let (data, kind) = (&object["data"], text(object, "type"));
    for key in required_keys(kind) {
        let path = Path::new("data").key(key);
        match data[key].as_str() {
            None => errors.push(Error::required(&path, "")),
            Some(value) if key.starts_with(".docker") => {
                let parsed =
                    STANDARD.decode(value).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
                if parsed.is_none() {
                    errors.push(Error::invalid(
                        &path,
                        "<secret contents redacted>",
                        "invalid character in JSON",
                    ));
                }
            }
            Some(_) => {}
        }
    }
    match kind {
        "kubernetes.io/basic-auth" if data["username"].is_null() && data["password"].is_null() => {
            errors.push(Error::required(&Path::new("data[%s]").key("username"), ""));
            errors.push(Error::required(&Path::new("data[%s]").key("password"), ""));
        }
        "kubernetes.io/service-account-token"
            if meta::annotation(object, annotation::SERVICE_ACCOUNT_NAME).unwrap_or("").is_empty() =>
        {
            let path = Path::new("metadata").child("annotations").key(annotation::SERVICE_ACCOUNT_NAME);
            errors.push(Error::required(&path, ""));
        }
        _ => {}
    }
}

impl Strategy for Secret {
    fn resource(&self) -> &Resource {
        &self.0
    }

    fn default(&self, object: &mut Value) {
        edit::set_default_text(object, "type", "Opaque");
        let Some(Value::Object(plain)) = edit::remove(object, "stringData") else { return };
        let Some(data) = edit::child_or_new(object, "data") else { return };
        for (key, value) in plain {
            edit::set(data, &key, STANDARD.encode(value.as_str().unwrap_or("")));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut size = 0;
        for (key, value) in entries(object, "data") {
            let path = Path::new("data").key(key);
            for message in names::config_map_key(key) {
                errors.push(Error::invalid(&path, key.as_str(), &message));
            }
            match STANDARD.decode(value.as_str().unwrap_or("")) {
                Ok(bytes) => size += bytes.len(),
                Err(_) => {
                    errors.push(Error::invalid(&path, "<secret contents redacted>", "illegal base64 data"))
                }
            }
        }
        if size > MAX_DATA {
            errors.push(Error::too_long(&Path::new("data"), MAX_DATA));
        }
        check_type(&mut errors, object);
        errors
    }

    fn prepare_for_update(&self, _: &crate::registry::WriteContext<'_>, object: &mut Value, old: &Value) {
        if text(object, "type").is_empty() {
            edit::copy(object, "type", old);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check::immutable(&mut errors, &Path::new("type"), &object["type"], &old["type"]);
        check_immutable(&mut errors, object, old, &["data"]);
        errors.extend(self.validate(object));
        errors
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<String> {
        vec![text(object, "type").to_owned()]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::new("Type", "string").field("type"),
                Column::new("Data", "string").field("data"),
                cells::AGE,
            ]
        }
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Cell> {
        let count = entries(object, "data").count();
        vec![cells::name(object), json!(text(object, "type")), count.into(), cells::age(object, now)]
    }
}
