//! Tokens from a file: `token,user,uid,"group1,group2"`, a line each.
//!
//! **Upstream**: `k8s.io/apiserver/pkg/authentication/token/tokenfile`.

use super::UserInfo;
use subtle::ConstantTimeEq;

/// The tokens of a file.
#[derive(Default)]
pub(crate) struct StaticTokens(Vec<(String, UserInfo)>);

impl StaticTokens {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines.map(|(number, line)| entry(line).map_err(|why| format!("line {}: {why}", number + 1))).collect()
    }

    /// Whose token this is.
    pub(crate) fn identity(&self, token: &str) -> Option<UserInfo> {
        let mut found = None;
        for (known, user) in &self.0 {
            if bool::from(known.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(user);
            }
        }
        found.cloned()
    }
}

impl FromIterator<(String, UserInfo)> for StaticTokens {
    fn from_iter<I: IntoIterator<Item = (String, UserInfo)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

fn entry(line: &str) -> Result<(String, UserInfo), String> {
    let columns = columns(line).ok_or("a quotation mark is not closed")?;
    let [token, user, uid, rest @ ..] = columns.as_slice() else {
        return Err(format!(
            "expected at least 3 columns (token, user name, user uid), found {}",
            columns.len()
        ));
    };
    if token.is_empty() {
        return Err("the token is empty".to_owned());
    }
    let groups = rest.first().map(String::as_str).unwrap_or_default();
    let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned);
    Ok((token.clone(), UserInfo { uid: uid.clone(), ..UserInfo::authenticated(user, groups) }))
}

/// The columns of a line; one in quotation marks may contain commas, and a doubled mark is one.
fn columns(line: &str) -> Option<Vec<String>> {
    let (mut columns, mut column, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => column.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(std::mem::take(&mut column)),
            other => column.push(other),
        }
    }
    columns.push(column);
    (!quoted).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_token_file() {
        let tokens = StaticTokens::parse("abc,jane,1,\"dev,ops\"\n\ndef,joe,2\n").unwrap();
        let jane = tokens.identity("abc").unwrap();
        assert_eq!((&*jane.name, &*jane.uid), ("jane", "1"));
        assert_eq!(jane.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(tokens.identity("def").unwrap().name, "joe");
        assert_eq!(tokens.identity("ab"), None);
        assert!(
            StaticTokens::parse("abc,jane").err().unwrap().contains("line 1: expected at least 3 columns")
        );
        assert!(StaticTokens::parse("abc,\"jane,1").is_err());
    }
}
