//! Outcomes as JUnit XML, which build servers read.

use super::Outcome;
use std::fmt::Write as _;

/// The whole file.
pub(super) fn report(outcomes: &[Outcome]) -> String {
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let time = outcomes.iter().map(|outcome| outcome.time.as_secs_f64()).fold(0.0, f64::max);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!("tests=\"{}\" failures=\"{failures}\" time=\"{time:.3}\"", outcomes.len());
    let _ = writeln!(out, "<testsuites {counts}>\n  <testsuite name=\"minik expect\" {counts}>");
    for outcome in outcomes {
        let name = escape(&outcome.name);
        let seconds = outcome.time.as_secs_f64();
        let _ = write!(out, "    <testcase classname=\"minik.expect\" name=\"{name}\" time=\"{seconds:.3}\"");
        match &outcome.failure {
            None => out.push_str("/>\n"),
            Some(why) => {
                let _ = writeln!(out, ">\n      <failure message=\"{}\"/>\n    </testcase>", escape(why));
            }
        }
    }
    out + "  </testsuite>\n</testsuites>\n"
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            // No other control characters may stand in XML at all.
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reports_what_failed_and_why() {
        let outcome = |name: &str, failure: Option<&str>| Outcome {
            name: name.to_owned(),
            time: Duration::from_millis(1500),
            failure: failure.map(str::to_owned),
        };
        assert_eq!(
            report(&[outcome("fine", None), outcome("a < b", Some("\"x\" & y"))]),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites tests=\"2\" failures=\"1\" time=\"1.500\">
  <testsuite name=\"minik expect\" tests=\"2\" failures=\"1\" time=\"1.500\">
    <testcase classname=\"minik.expect\" name=\"fine\" time=\"1.500\"/>
    <testcase classname=\"minik.expect\" name=\"a &lt; b\" time=\"1.500\">
      <failure message=\"&quot;x&quot; &amp; y\"/>
    </testcase>
  </testsuite>
</testsuites>
"
        );
    }
}
