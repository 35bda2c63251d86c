//! The table that the benchmark prints, as Markdown.

use std::fmt::Write as _;
use std::fs;

use super::docker;
use super::sample::Sample;

/// What a median should not pass.
#[derive(Debug, Clone, Copy)]
enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    figure: String,
    aim: Option<Aim>,
    value: f64,
    spread: String,
}

impl Row {
    /// A figure whose median has an aim.
    pub(super) fn at_most(figure: &str, aim: f64, sample: &Sample) -> Self {
        Self { aim: Some(Aim::AtMost(aim)), ..Self::known(figure, sample) }
    }

    /// A figure whose median should be at least this.
    pub(super) fn reaching(figure: &str, aim: f64, sample: &Sample) -> Self {
        Self { aim: Some(Aim::AtLeast(aim)), ..Self::known(figure, sample) }
    }

    /// A rate that should be a multiple of genuine Kubernetes'.
    pub(super) fn at_least(figure: &str, genuine: f64, times: f64, sample: &Sample) -> Self {
        let aim = Some(Aim::AtLeast(genuine * times));
        Self { aim, ..Self::known(&beside(figure, genuine), sample) }
    }

    /// A time that should be a fraction of genuine Kubernetes'.
    pub(super) fn fraction(figure: &str, genuine: f64, times: f64, sample: &Sample) -> Self {
        Self::at_most(&beside(figure, genuine), genuine / times, sample)
    }

    /// A figure without an aim.
    pub(super) fn known(figure: &str, sample: &Sample) -> Self {
        let spread = if sample.len() >= 20 {
            format!("p95 {:.3}, n={}", sample.percentile(95), sample.len())
        } else {
            format!("{:.3} – {:.3}, n={}", sample.least(), sample.greatest(), sample.len())
        };
        Self { figure: figure.to_owned(), aim: None, value: sample.median(), spread }
    }

    /// A figure made of two medians.
    pub(super) fn ratio(figure: &str, aim: f64, value: f64) -> Self {
        Self { figure: figure.to_owned(), aim: Some(Aim::AtMost(aim)), value, spread: String::new() }
    }
}

fn beside(figure: &str, genuine: f64) -> String {
    format!("{figure} [genuine: {genuine}]")
}

/// The whole table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| figure | aim | median | spread | |\n|---|---|---|---|---|\n".to_owned();
    for Row { figure, aim, value, spread } in rows {
        let (aim, verdict) = match aim {
            Some(Aim::AtMost(aim)) => (format!("≤ {aim}"), if value <= aim { "reached" } else { "missed" }),
            Some(Aim::AtLeast(aim)) => (format!("≥ {aim}"), if value >= aim { "reached" } else { "missed" }),
            None => (String::new(), ""),
        };
        let _ = writeln!(text, "| {figure} | {aim} | {value:.3} | {spread} | {verdict} |");
    }
    text
}

/// What it was measured on.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{cores} cores ({model}), Linux {}, Docker {}\n", kernel.trim(), docker::version())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_was_reached() {
        let mut sample = Sample::default();
        [0.1, 0.3, 0.2].into_iter().for_each(|value| sample.push(value));
        let rows = [
            Row::at_most("start, s", 0.2, &sample),
            Row::at_most("memory", 0.1, &sample),
            Row::known("docker run, s", &sample),
            Row::ratio("pod / docker", 1.3, 1.25),
            Row::at_least("GET, requests/s", 0.03, 5.0, &sample),
            Row::fraction("LIST, ms", 1.0, 10.0, &sample),
        ];
        assert_eq!(
            table(&rows),
            "| figure | aim | median | spread | |\n|---|---|---|---|---|\n\
             | start, s | ≤ 0.2 | 0.200 | 0.100 – 0.300, n=3 | reached |\n\
             | memory | ≤ 0.1 | 0.200 | 0.100 – 0.300, n=3 | missed |\n\
             | docker run, s |  | 0.200 | 0.100 – 0.300, n=3 |  |\n\
             | pod / docker | ≤ 1.3 | 1.250 |  | reached |\n\
             | GET, requests/s [genuine: 0.03] | ≥ 0.15 | 0.200 | 0.100 – 0.300, n=3 | reached |\n\
             | LIST, ms [genuine: 1] | ≤ 0.1 | 0.200 | 0.100 – 0.300, n=3 | missed |\n"
        );
    }
}
