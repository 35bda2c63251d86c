//! `completion`: a script for the user's shell, which asks `kctl __complete` what may stand where the cursor is.
//!
//! **Upstream.** kubectl's scripts ask their program in the same way.

mod candidates;

use std::ffi::OsString;

use clap::ArgMatches;
use clap_complete::{Shell, generate};

use super::{Command, Context, grammar};
use crate::cli;
use crate::report::Error;

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "completion", build, run: |context, matches| Box::pin(run(context, matches)) };

/// The word by which the scripts ask.
pub(super) const QUESTION: &str = "__complete";
/// The answer that stands for files.
const FILES: &str = ":files";

const BASH: &str = r#"# bash completion for kctl
__kctl_complete() {
    local current="${COMP_LINE:0:COMP_POINT}" words answer last
    read -r -a words <<< "$current"
    [[ "$current" == *[[:space:]] ]] && words+=("")
    last="${words[${#words[@]}-1]}"
    answer="$("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)" || return
    COMPREPLY=()
    if [[ "$answer" == ":files" ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "${last#*=}")
        compopt -o filenames 2>/dev/null
        return
    fi
    mapfile -t COMPREPLY <<< "$answer"
    [[ -z "$answer" ]] && COMPREPLY=()
    # readline takes what stands behind a break character for the word.
    local breaks="${last%"${last##*[=:]}"}" index
    if [[ -n "$breaks" ]]; then
        for index in "${!COMPREPLY[@]}"; do COMPREPLY[index]="${COMPREPLY[index]#"$breaks"}"; done
    fi
    [[ "${#COMPREPLY[@]}" -eq 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F __kctl_complete kctl
"#;

const ZSH: &str = r#"#compdef kctl
_kctl() {
    local answer
    answer="$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)" || return
    if [[ "$answer" == ":files" ]]; then
        _files
        return
    fi
    local -a found plain open
    found=("${(@f)answer}")
    plain=("${(@)found:#*=}")
    open=("${(@M)found:#*=}")
    [[ -n "${plain[*]}" ]] && compadd -- "${plain[@]}"
    [[ -n "${open[*]}" ]] && compadd -S '' -- "${open[@]}"
}
if [ "$funcstack[1]" = "_kctl" ]; then
    _kctl "$@"
else
    compdef _kctl kctl
fi
"#;

const FISH: &str = r#"# fish completion for kctl
function __kctl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answer ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test "$answer" = ":files"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $answer
    end
end
complete -c kctl -f -a '(__kctl_complete)'
"#;

fn build(command: clap::Command) -> clap::Command {
    command
        .about("Output shell completion code for the specified shell (bash, zsh, fish, or powershell)")
        .arg(cli::shell())
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    match cli::value(matches, "shell") {
        "bash" => context.terminal.out(BASH),
        "zsh" => context.terminal.out(ZSH),
        "fish" => context.terminal.out(FISH),
        _ => {
            let (mut script, mut grammar) = (Vec::new(), grammar());
            let name = grammar.get_name().to_owned();
            generate(Shell::PowerShell, &mut grammar, name, &mut script);
            context.terminal.out_bytes(&script)
        }
    }
}

/// The flags of the words before the cursor that say where to ask.
pub(super) fn globals_of(words: &[OsString]) -> Vec<OsString> {
    const KNOWN: [&str; 6] = ["--kubeconfig", "--context", "--cluster", "--user", "--namespace", "--server"];
    let mut found = Vec::new();
    let mut rest = words.iter().take(words.len().saturating_sub(1)).peekable();
    while let Some(word) = rest.next() {
        let text = word.to_str().unwrap_or("");
        let is_short = matches!(text, "-n" | "-s");
        if is_short || KNOWN.contains(&text) {
            if let Some(value) = rest.peek() {
                found.extend([word.clone(), (*value).clone()]);
            }
        } else if KNOWN.iter().any(|flag| text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))) {
            found.push(word.clone());
        }
    }
    found
}

/// Answers the script: a word a line.
pub(super) async fn answer(context: &Context, words: &[String]) -> Result<(), Error> {
    let wanted = candidates::wanted(&grammar(), words);
    let current = words.last().map_or("", String::as_str);
    match candidates::offer(context, wanted, current).await {
        None => context.terminal.out(&format!("{FILES}\n")),
        Some(found) => {
            context.terminal.out(&found.iter().map(|word| format!("{word}\n")).collect::<String>())
        }
    }
}
