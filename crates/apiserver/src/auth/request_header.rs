//! Whom a trusted proxy speaks for: `X-Remote-User`, `-Group`, `-Uid`, `-Extra-*`.
//!
//! **Contract**: these headers count on connections of proxies only, and go no further on any.
//! **Upstream**: `k8s.io/apiserver/pkg/authentication/request/headerrequest`.

use super::UserInfo;
use crate::options::RequestHeaderOptions;
use crate::request::percent_decode;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The names of the headers.
#[derive(Debug, Default)]
pub(crate) struct RequestHeader {
    users: Vec<HeaderName>,
    uids: Vec<HeaderName>,
    groups: Vec<HeaderName>,
    /// In lower case.
    extras: Vec<String>,
}

impl RequestHeader {
    pub(crate) fn new(options: &RequestHeaderOptions) -> Result<Self, String> {
        let names = |list: &[String]| {
            let parse = |name: &String| name.parse().map_err(|_| format!("invalid header name {name:?}"));
            list.iter().map(parse).collect::<Result<Vec<HeaderName>, String>>()
        };
        Ok(Self {
            users: names(&options.username_headers)?,
            uids: names(&options.uid_headers)?,
            groups: names(&options.group_headers)?,
            extras: options.extra_prefixes.iter().map(|prefix| prefix.to_ascii_lowercase()).collect(),
        })
    }

    /// The user that the headers name, if they may. They are gone afterwards.
    pub(crate) fn take(&self, headers: &mut HeaderMap, trusted: bool) -> Option<UserInfo> {
        // Almost every request has none of them; that is told at once.
        let names = || self.users.iter().chain(&self.uids).chain(&self.groups);
        if !headers.keys().any(|header| names().any(|name| name == header) || self.extra(header).is_some()) {
            return None;
        }
        let user = trusted.then(|| self.read(headers)).flatten();
        for name in names() {
            headers.remove(name);
        }
        let extras: Vec<HeaderName> =
            headers.keys().filter(|name| self.extra(name).is_some()).cloned().collect();
        for name in extras {
            headers.remove(name);
        }
        user
    }

    fn read(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let first = |names: &[HeaderName]| {
            let values = names.iter().filter_map(|name| text(headers.get(name)?));
            values.map(str::trim).find(|value| !value.is_empty()).map(str::to_owned)
        };
        let name = first(&self.users)?;
        let groups = self.groups.iter().flat_map(|name| headers.get_all(name));
        let groups = groups.filter_map(text).filter(|group| !group.is_empty()).map(str::to_owned);
        let mut user = UserInfo::authenticated(name, groups);
        user.uid = first(&self.uids).unwrap_or_default();
        for (name, value) in headers {
            if let (Some(key), Some(value)) = (self.extra(name), text(value)) {
                user.extra.entry(percent_decode(key)).or_default().push(value.to_owned());
            }
        }
        Some(user)
    }

    fn extra<'a>(&self, name: &'a HeaderName) -> Option<&'a str> {
        self.extras.iter().find_map(|prefix| name.as_str().strip_prefix(prefix.as_str()))
    }
}

/// Names of people are not all in ASCII.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_believed_and_nobody_else() {
        let header = RequestHeader::new(&RequestHeaderOptions::default()).unwrap();
        let headers = || {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("X-Remote-User", "jürgen"),
                ("X-Remote-Group", "dev"),
                ("X-Remote-Group", ""),
                ("X-Remote-Group", "ops"),
                ("X-Remote-Uid", "7"),
                ("X-Remote-Extra-Example.com%2Fscope", "a"),
                ("Accept", "x"),
            ] {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append(name.parse::<HeaderName>().unwrap(), value);
            }
            headers
        };
        let mut trusted = headers();
        let user = header.take(&mut trusted, true).unwrap();
        assert_eq!((&*user.name, &*user.uid), ("jürgen", "7"));
        assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(user.extra["example.com/scope"], ["a"]);
        assert_eq!(trusted.len(), 1);
        let mut other = headers();
        assert_eq!(header.take(&mut other, false), None);
        assert_eq!(other.len(), 1);
        // Without a name they name nobody, and go no further either.
        let mut nameless = headers();
        nameless.remove("x-remote-user");
        assert_eq!(header.take(&mut nameless, true), None);
        assert_eq!(nameless.len(), 1);
    }
}
