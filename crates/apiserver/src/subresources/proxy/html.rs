//! Finds the links in a page of HTML and replaces them; all other bytes stay as they are.
//!
//! **Contract**: linear in the length of the page; never fails, whatever the page.
//! **Upstream**: `k8s.io/apimachinery/pkg/util/proxy/transport.go` (`atomsToAttrs`).

/// Attributes with a link, by element.
const LINKS: [(&str, &[&str]); 27] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("track", &["src"]),
    ("video", &["poster", "src"]),
    ("image", &["src"]),
];
/// Elements whose content is text until their end tag, whatever it looks like.
const RAW: [&str; 8] = ["iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"];

/// The page with its links replaced.
pub(super) fn rewrite(page: &[u8], link: impl Fn(&str) -> String) -> Vec<u8> {
    let mut scanner = Scanner { page, at: 0, done: 0, out: Vec::with_capacity(page.len() + 256) };
    while let Some(open) = scanner.find(b"<") {
        scanner.at = open + 1;
        if scanner.rest().starts_with(b"!--") {
            scanner.skip_past(b"-->");
        } else if scanner.rest().first().is_some_and(u8::is_ascii_alphabetic) {
            scanner.tag(&link);
        } else {
            // End tags, declarations, or a stray `<`.
            if matches!(scanner.rest().first(), Some(b'/' | b'!' | b'?')) {
                scanner.skip_past(b">");
            }
        }
    }
    scanner.copy_to(page.len());
    scanner.out
}

struct Scanner<'a> {
    page: &'a [u8],
    at: usize,
    /// How far the page has been copied.
    done: usize,
    out: Vec<u8>,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.page[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.page.get(self.at).copied()
    }

    fn find(&self, what: &[u8]) -> Option<usize> {
        self.rest().windows(what.len()).position(|window| window == what).map(|at| self.at + at)
    }

    fn skip_past(&mut self, what: &[u8]) {
        self.at = self.find(what).map_or(self.page.len(), |at| at + what.len());
    }

    fn skip_while(&mut self, keep: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&keep) {
            self.at += 1;
        }
    }

    fn copy_to(&mut self, end: usize) {
        self.out.extend_from_slice(&self.page[self.done..end]);
        self.done = end;
    }

    fn word(&mut self, keep: impl Fn(u8) -> bool) -> String {
        let start = self.at;
        self.skip_while(keep);
        String::from_utf8_lossy(&self.page[start..self.at]).to_ascii_lowercase()
    }

    /// Reads a start tag, of which the name begins here.
    fn tag(&mut self, link: &impl Fn(&str) -> String) {
        let element = self.word(|b| !b.is_ascii_whitespace() && !matches!(b, b'/' | b'>'));
        let links = LINKS.iter().find(|(name, _)| *name == element).map_or(&[][..], |(_, names)| *names);
        loop {
            self.skip_while(|b| b.is_ascii_whitespace() || b == b'/');
            match self.peek() {
                None => return,
                Some(b'>') => break self.at += 1,
                Some(_) => {}
            }
            let before = self.at;
            let name = self.word(|b| !b.is_ascii_whitespace() && !matches!(b, b'/' | b'>' | b'='));
            let value = self.value();
            if let Some((start, end)) = value.filter(|_| links.contains(&name.as_str())) {
                self.replace(start, end, link);
            }
            // A stray `=` where a name should be.
            self.at = self.at.max(before + 1);
        }
        if RAW.contains(&element.as_str()) {
            self.skip_raw(&element);
        }
    }

    /// Where the value of the attribute, of which the name ends here, begins and ends.
    fn value(&mut self) -> Option<(usize, usize)> {
        let name_end = self.at;
        self.skip_while(|b| b.is_ascii_whitespace());
        if self.peek() != Some(b'=') {
            self.at = name_end;
            return None;
        }
        self.at += 1;
        self.skip_while(|b| b.is_ascii_whitespace());
        let quote = self.peek().filter(|b| matches!(b, b'"' | b'\''));
        let Some(quote) = quote else {
            let start = self.at;
            self.skip_while(|b| !b.is_ascii_whitespace() && b != b'>');
            return Some((start, self.at));
        };
        let start = self.at + 1;
        self.at = start;
        self.skip_while(|b| b != quote);
        let end = self.at;
        self.at = (end + 1).min(self.page.len());
        Some((start, end))
    }

    /// Copies what comes before a value, and another value instead of it.
    fn replace(&mut self, start: usize, end: usize, link: &impl Fn(&str) -> String) {
        let Ok(old) = std::str::from_utf8(&self.page[start..end]) else { return };
        // In links only the ampersand is common; what else is escaped stays so.
        let new = link(&old.replace("&amp;", "&"));
        if new == old.replace("&amp;", "&") {
            return;
        }
        self.copy_to(start);
        let escaped = new.replace('&', "&amp;").replace('"', "&#34;").replace('\'', "&#39;");
        self.out.extend_from_slice(escaped.as_bytes());
        self.done = end;
    }

    /// Goes to the end tag of an element whose content is no HTML.
    fn skip_raw(&mut self, element: &str) {
        while let Some(open) = self.find(b"</") {
            let name = &self.page[open + 2..];
            let same = name.get(..element.len()).is_some_and(|n| n.eq_ignore_ascii_case(element.as_bytes()));
            let ends =
                name.get(element.len()).is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>'));
            if same && ends {
                self.at = open;
                return;
            }
            self.at = open + 2;
        }
        self.at = self.page.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(page: &str) -> String {
        let link = |link: &str| if link.starts_with('/') { format!("/p{link}") } else { link.to_owned() };
        String::from_utf8(rewrite(page.as_bytes(), link)).unwrap()
    }

    #[test]
    fn links_are_replaced_and_nothing_else() {
        for (page, expected) in [
            (
                r#"<a class="x" href="/a?x=1&amp;y=2">/b</a>"#,
                r#"<a class="x" href="/p/a?x=1&amp;y=2">/b</a>"#,
            ),
            ("<IMG SRC=/a.png alt='/x'/>", "<IMG SRC=/p/a.png alt='/x'/>"),
            (
                "<link rel=icon href='/i'><script src=\"/s.js\"></script>",
                "<link rel=icon href='/p/i'><script src=\"/p/s.js\"></script>",
            ),
            (
                "<script>x = '<a href=\"/no\">'</script><a href=/yes>",
                "<script>x = '<a href=\"/no\">'</script><a href=/p/yes>",
            ),
            ("<!-- <a href=\"/no\"> --><a href='/yes'>", "<!-- <a href=\"/no\"> --><a href='/p/yes'>"),
            (
                "<title><a href=/no></title><form action = '/f' >",
                "<title><a href=/no></title><form action = '/p/f' >",
            ),
            ("<a href=rel><p href=/x><a>", "<a href=rel><p href=/x><a>"),
        ] {
            assert_eq!(rewritten(page), expected);
        }
    }

    #[test]
    fn broken_pages_come_through() {
        for page in [
            "<",
            "<a",
            "<a href",
            "<a href=",
            "<a href=\"/x",
            "< a <",
            "<a =/x>",
            "</",
            "<!--",
            "<script",
            "<a ==\u{e9}>",
        ] {
            let got = rewritten(page);
            assert!(got.len() >= page.len(), "{page} {got}");
        }
        assert_eq!(rewrite(b"<a href=\"\xff\">", |_| "x".to_owned()), b"<a href=\"\xff\">");
    }
}
