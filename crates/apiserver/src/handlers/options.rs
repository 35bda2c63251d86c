//! The options of a request's query, and whether they go together.
//!
//! **Contract**: pure; the errors are upstream's.
//! **Upstream**: `metav1.ListOptions` and its validation in `internalversion/validation`, `metav1/validation`.

use super::decode::FieldValidation;
use crate::auth::UserInfo;
use crate::request::Query;
use api::field::{Error, ErrorList, Path};
use api::golang;
use api::status::Status;
use http::HeaderMap;
use http::header::USER_AGENT;
use std::time::Duration;

/// Bytes of a manager's name. **Upstream**: `FieldManagerMaxLength`.
const MAX_FIELD_MANAGER: usize = 128;

/// `resourceVersionMatch`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The state at exactly this revision.
    Exact,
    /// Any state that is not older.
    NotOlderThan,
}

/// What a list or watch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// `None`: unset; `Some(0)`: any.
    pub resource_version: Option<u64>,
    /// How the version is meant.
    pub version_match: Option<Match>,
    /// At most so many objects; 0: all.
    pub limit: usize,
    /// The token of the page before.
    pub continue_token: String,
    /// When a watch ends.
    pub timeout: Option<Duration>,
    /// Whether a watch wants bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with the state.
    pub send_initial_events: Option<bool>,
    /// The label selector as sent.
    pub label_selector: String,
    /// The field selector as sent.
    pub field_selector: String,
}

impl ListOptions {
    /// Reads and checks the options of a list (or, if `watch`, of a watch).
    pub fn parse(query: &Query, watch: bool) -> Result<Self, Status> {
        let send_initial_events = query.optional_flag("sendInitialEvents");
        let errors = if watch {
            validate_watch(query, send_initial_events)
        } else {
            validate_list(query, send_initial_events)
        };
        if !errors.is_empty() {
            return Err(invalid("ListOptions", &errors));
        }
        let resource_version = match query.text("resourceVersion") {
            "" => None,
            text => Some(resource_version(text)?),
        };
        let continue_token = query.text("continue").to_owned();
        if !continue_token.is_empty() && resource_version.is_some_and(|version| version != 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(Self {
            resource_version,
            version_match: match query.text("resourceVersionMatch") {
                "Exact" => Some(Match::Exact),
                "NotOlderThan" => Some(Match::NotOlderThan),
                _ => None,
            },
            limit: integer(query, "limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
            continue_token,
            timeout: integer(query, "timeoutSeconds")?
                .and_then(|n| u64::try_from(n).ok())
                .filter(|n| *n > 0)
                .map(Duration::from_secs),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
            label_selector: query.text("labelSelector").to_owned(),
            field_selector: query.text("fieldSelector").to_owned(),
        })
    }
}

fn validate_list(query: &Query, send_initial_events: Option<bool>) -> ErrorList {
    let path = Path::new("resourceVersionMatch");
    let mut errors = ErrorList::new();
    let (version, matching) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
    if !matching.is_empty() {
        if version.is_empty() {
            let text = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(Error::forbidden(&path, text));
        }
        if !query.text("continue").is_empty() {
            let text = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(Error::forbidden(&path, text));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(Error::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && version == "0" {
            let text = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(Error::forbidden(&path, text));
        }
    }
    if send_initial_events.is_some() {
        let path = Path::new("sendInitialEvents");
        errors.push(Error::forbidden(&path, "sendInitialEvents is forbidden for list"));
    }
    errors
}

fn validate_watch(query: &Query, send_initial_events: Option<bool>) -> ErrorList {
    let path = Path::new("resourceVersionMatch");
    let mut errors = ErrorList::new();
    let matching = query.text("resourceVersionMatch");
    if send_initial_events.is_some() && matching != "NotOlderThan" {
        let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(Error::forbidden(&path, text));
    }
    if !matching.is_empty() {
        if send_initial_events.is_none() {
            let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(Error::forbidden(&path, text));
        }
        if matching != "NotOlderThan" {
            errors.push(Error::not_supported(&path, matching, &["NotOlderThan"]));
        }
        if !query.text("continue").is_empty() {
            let text = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(Error::forbidden(&path, text));
        }
    }
    errors
}

/// The options that all writes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteQuery {
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// What is done about unknown fields.
    pub validation: FieldValidation,
}

impl WriteQuery {
    /// Reads and checks them; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, Status> {
        Self::check(query, kind, false)
    }

    /// The options of a server-side apply.
    pub fn parse_apply(query: &Query) -> Result<Self, Status> {
        Self::check(query, "PatchOptions", true)
    }

    fn check(query: &Query, kind: &str, apply: bool) -> Result<Self, Status> {
        let mut errors = validate_dry_run(query.all("dryRun"));
        let manager = query.text("fieldManager");
        let path = Path::new("fieldManager");
        if manager.len() > MAX_FIELD_MANAGER {
            errors.push(Error::too_long(&path, MAX_FIELD_MANAGER));
        }
        if manager.chars().any(char::is_control) {
            errors.push(Error::invalid(&path, manager, "should only contain printable characters"));
        }
        if apply && manager.is_empty() {
            errors.push(Error::required(&path, "is required for apply patch"));
        }
        if !apply && kind == "PatchOptions" && query.get("force").is_some() {
            let path = Path::new("force");
            errors.push(Error::forbidden(&path, "may not be specified for non-apply patch"));
        }
        let validation = match query.text("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            "" | "Warn" => FieldValidation::Warn,
            other => {
                let path = Path::new("fieldValidation");
                errors.push(Error::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(invalid(kind, &errors));
        }
        Ok(Self { dry_run: query.get("dryRun").is_some_and(|v| !v.is_empty()), validation })
    }
}

/// The manager that a request names, or the client's program: what its User-Agent says before the first `/`. The
/// cluster's own components send none and are called as their user is; empty: unknown.
pub(crate) fn field_manager(query: &Query, headers: &HeaderMap, user: &UserInfo) -> String {
    match query.text("fieldManager") {
        "" => match headers.get(USER_AGENT) {
            Some(agent) => {
                let program = agent.to_str().unwrap_or("").split('/').next().unwrap_or("");
                program.chars().filter(|c| !c.is_control()).take(MAX_FIELD_MANAGER).collect()
            }
            None if user.name.starts_with("system:node:") => "kubelet".to_owned(),
            None => match user.name.strip_prefix("system:") {
                Some(component) if component.starts_with("kube-") => component.to_owned(),
                _ => String::new(),
            },
        },
        manager => manager.to_owned(),
    }
}

/// All errors of the values of `dryRun`.
pub(super) fn validate_dry_run<'a>(values: impl Iterator<Item = &'a str>) -> ErrorList {
    let path = Path::new("dryRun");
    values
        .filter(|value| *value != "All")
        .map(|value| Error::not_supported(&path, vec![value], &["All"]))
        .collect()
}

/// The error of options that do not go together.
pub(super) fn invalid(kind: &str, errors: &ErrorList) -> Status {
    Status::invalid("meta.k8s.io", kind, "", errors)
}

pub(super) fn integer(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    match query.text(name) {
        "" => Ok(None),
        text => golang::parse_int(text).map(Some).map_err(Status::bad_request),
    }
}

pub(super) fn resource_version(text: &str) -> Result<u64, Status> {
    let wrong = |why: String| Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: {why}"));
    golang::parse_uint(text).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_list_options_that_do_not_go_together() {
        let table = [
            ("resourceVersionMatch=Exact", false, 422, "forbidden unless resourceVersion is provided"),
            (
                "resourceVersion=0&resourceVersionMatch=Exact",
                false,
                422,
                "forbidden for resourceVersion \"0\"",
            ),
            ("resourceVersion=1&resourceVersionMatch=Nope", false, 422, "Unsupported value: \"Nope\""),
            ("sendInitialEvents=true", false, 422, "sendInitialEvents is forbidden for list"),
            ("continue=x&resourceVersion=5", false, 400, "not allowed when using continue"),
            ("resourceVersion=abc", false, 400, "invalid syntax"),
            ("limit=x", false, 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("limit=99999999999999999999", false, 400, "value out of range"),
            ("sendInitialEvents=true", true, 422, "requires setting resourceVersionMatch to NotOlderThan"),
            ("resourceVersionMatch=NotOlderThan", true, 422, "unless sendInitialEvents is provided"),
        ];
        for (query, watch, code, text) in table {
            let status = ListOptions::parse(&Query::parse(query), watch).unwrap_err();
            assert_eq!(status.code, code, "{query}");
            assert!(status.message.contains(text), "{query}: {}", status.message);
        }
    }

    #[test]
    fn accepts_what_clients_send() {
        let parse = |query: &str, watch| ListOptions::parse(&Query::parse(query), watch).unwrap();
        let options = parse("limit=500&resourceVersion=0&labelSelector=a%3Db", false);
        assert_eq!((options.limit, options.resource_version), (500, Some(0)));
        assert_eq!(options.label_selector, "a=b");
        let options = parse(
            "allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeoutSeconds=30&watch=true",
            true,
        );
        assert_eq!(options.send_initial_events, Some(true));
        assert_eq!(options.timeout, Some(Duration::from_secs(30)));
        assert!(options.bookmarks);
    }

    #[test]
    fn reads_write_options() {
        let parse = |query: &str| WriteQuery::parse(&Query::parse(query), "CreateOptions");
        assert!(parse("dryRun=All").unwrap().dry_run);
        assert_eq!(parse("fieldValidation=Strict").unwrap().validation, FieldValidation::Strict);
        assert_eq!(parse("dryRun=Some").unwrap_err().code, 422);
        assert_eq!(parse("fieldValidation=Maybe").unwrap_err().code, 422);
    }
}
