//! The options of `pods/log`: read, checked, and written for the kubelet.
//!
//! **Upstream**: `PodLogOptions`, `validation.ValidatePodLogOptions`.

use crate::request::Query;
use api::field::{Error as FieldError, ErrorList, Path};
use api::golang;
use api::status::Status;
use jiff::{SignedDuration, Timestamp};

/// What a client wants of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogOptions {
    pub(super) container: String,
    follow: bool,
    previous: bool,
    timestamps: bool,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    tail_lines: Option<i64>,
    limit_bytes: Option<i64>,
}

impl LogOptions {
    pub(super) fn parse(pod: &str, query: &Query) -> Result<Self, Status> {
        let number = |name: &str| match query.get(name) {
            None | Some("") => Ok(None),
            Some(text) => golang::parse_int::<i64>(text).map(Some).map_err(Status::bad_request),
        };
        let since_time = match query.get("sinceTime") {
            None | Some("") => None,
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| {
                Status::bad_request(format!(
                    "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                ))
            })?),
        };
        let options = Self {
            container: query.text("container").to_owned(),
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since_seconds: number("sinceSeconds")?,
            since_time,
            tail_lines: number("tailLines")?,
            limit_bytes: number("limitBytes")?,
        };
        let errors = options.errors();
        if errors.is_empty() { Ok(options) } else { Err(Status::invalid("", "PodLogOptions", pod, &errors)) }
    }

    fn errors(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(lines) = self.tail_lines.filter(|lines| *lines < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(&Path::new("tailLines"), lines, why));
        }
        if let Some(bytes) = self.limit_bytes.filter(|bytes| *bytes < 1) {
            errors.push(FieldError::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
        }
        match (self.since_seconds, self.since_time) {
            (Some(_), Some(_)) => {
                let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
                errors.push(FieldError::forbidden(&Path::default(), why));
            }
            (Some(seconds), None) if seconds < 1 => {
                errors.push(FieldError::invalid(
                    &Path::new("sinceSeconds"),
                    seconds,
                    "must be greater than 0",
                ));
            }
            _ => {}
        }
        errors
    }

    /// The query for the kubelet; `sinceSeconds` becomes a time.
    pub(super) fn query(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        for (name, set) in
            [("follow", self.follow), ("previous", self.previous), ("timestamps", self.timestamps)]
        {
            if set {
                parts.push(format!("{name}=true"));
            }
        }
        let since =
            self.since_seconds.map(|s| now.saturating_sub(SignedDuration::from_secs(s)).unwrap_or(now));
        if let Some(time) = since.or(self.since_time) {
            parts.push(format!("sinceTime={}", time.to_string().replace(':', "%3A")));
        }
        if let Some(lines) = self.tail_lines {
            parts.push(format!("tailLines={lines}"));
        }
        if let Some(bytes) = self.limit_bytes {
            parts.push(format!("limitBytes={bytes}"));
        }
        parts.join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_upstream_refuses() {
        for (query, code, message) in [
            (
                "tailLines=-1",
                422,
                "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "limitBytes=0",
                422,
                "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
            ),
            (
                "sinceSeconds=0",
                422,
                "PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0",
            ),
            ("tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ] {
            let status = LogOptions::parse("p", &Query::parse(query)).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
        assert!(
            LogOptions::parse("p", &Query::parse("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z")).is_err()
        );
    }

    #[test]
    fn tells_the_kubelet_a_time() {
        let options =
            LogOptions::parse("p", &Query::parse("follow=true&tailLines=5&sinceSeconds=60")).unwrap();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(options.query(now), "follow=true&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=5");
    }
}
