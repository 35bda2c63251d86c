//! A build's context: the folder as an archive, without what its `.dockerignore` names.
//!
//! **Upstream**: `moby/patternmatcher`; the last pattern that matches a path or one of its parents decides.

use anyhow::{Context as _, Result};
use regex::Regex;
use std::fs::{self, File};
use std::path::Path;

/// The folder as an archive in a file that has no name.
pub(super) fn archive(folder: &Path, dockerfile: &str) -> Result<File> {
    let ignored = match fs::read_to_string(folder.join(".dockerignore")) {
        Ok(text) => Ignored::parse(&text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ignored::default(),
        Err(error) => return Err(error).context("read .dockerignore"),
    };
    let mut builder = tar::Builder::new(nameless()?);
    builder.follow_symlinks(false);
    append(&mut builder, folder, "", &|path| {
        // The engine needs these two, whatever they say of themselves.
        path != dockerfile && path != ".dockerignore" && ignored.has(path)
    })?;
    builder.into_inner().context("write the build context")
}

fn nameless() -> Result<File> {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("minik-context-{}", std::process::id()));
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.with_context(|| format!("create {}", path.display()))?;
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(file)
}

fn append(
    builder: &mut tar::Builder<File>,
    folder: &Path,
    below: &str,
    ignored: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let failed = |path: &Path| format!("read {}", path.display());
    let mut entries: Vec<_> =
        fs::read_dir(folder).and_then(Iterator::collect).with_context(|| failed(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        let inner = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let kind = entry.file_type().with_context(|| failed(&path))?;
        // Below an ignored folder there may be exceptions.
        if !ignored(&inner) && (kind.is_dir() || kind.is_file() || kind.is_symlink()) {
            builder.append_path_with_name(&path, &inner).with_context(|| failed(&path))?;
        }
        if kind.is_dir() {
            append(builder, &path, &inner, ignored)?;
        }
    }
    Ok(())
}

/// The patterns of a `.dockerignore`.
#[derive(Default)]
struct Ignored(Vec<(Regex, bool)>);

impl Ignored {
    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let patterns = lines.map(|line| {
            let (pattern, ignored) = line.strip_prefix('!').map_or((line, true), |rest| (rest, false));
            let pattern = pattern.trim().trim_start_matches("./").trim_matches('/');
            let regex = Regex::new(&as_regex(pattern)).with_context(|| format!(".dockerignore: {line:?}"))?;
            Ok((regex, ignored))
        });
        Ok(Self(patterns.collect::<Result<_>>()?))
    }

    fn has(&self, path: &str) -> bool {
        self.0.iter().rev().find(|(pattern, _)| pattern.is_match(path)).is_some_and(|(_, ignored)| *ignored)
    }
}

/// A pattern as a regular expression that also matches everything below what the pattern matches.
fn as_regex(pattern: &str) -> String {
    let mut regex = "^".to_owned();
    let mut rest = pattern.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '*' if rest.next_if_eq(&'*').is_some() => {
                regex += if rest.next_if_eq(&'/').is_some() { "(.*/)?" } else { ".*" };
            }
            '*' => regex += "[^/]*",
            '?' => regex += "[^/]",
            '[' | ']' | '-' => regex.push(char),
            '\\' => regex += &regex::escape(&rest.next().unwrap_or('\\').to_string()),
            other => regex += &regex::escape(&other.to_string()),
        }
    }
    regex + "(/.*)?$"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_leave_out_what_dockers_do() {
        let ignored = Ignored::parse("# no\n*.log\n/target\n**/node_modules\ndocs/*\n!docs/keep.md\na?c\n")
            .expect("patterns");
        for (path, expected) in [
            ("x.log", true),
            ("deep/x.log", false),
            ("target", true),
            ("target/debug/x", true),
            ("targets", false),
            ("node_modules", true),
            ("a/b/node_modules/c", true),
            ("docs/x", true),
            ("docs/keep.md", false),
            ("docs", false),
            ("abc", true),
            ("a/c", false),
        ] {
            assert_eq!(ignored.has(path), expected, "{path}");
        }
    }

    #[test]
    fn the_archive_has_what_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in
            [("Dockerfile", "FROM x"), (".dockerignore", "*\n!src\n"), ("src/a", "a"), ("big", "b")]
        {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let mut file = archive(folder.path(), "Dockerfile").expect("an archive");
        std::io::Seek::rewind(&mut file).expect("rewound");
        let mut archive = tar::Archive::new(file);
        let paths = archive
            .entries()
            .expect("entries")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string());
        assert_eq!(paths.collect::<Vec<_>>(), [".dockerignore", "Dockerfile", "src", "src/a"]);
    }
}
