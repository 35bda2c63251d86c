//! Resource amounts, as much as the command line needs: parse, add, round, show.
//!
//! **Not here.** Validation of quantities: the server does that.
//! **Upstream.** `apimachinery/pkg/api/resource` (canonical form).

use std::cmp::Ordering;

/// The suffix family in which an amount is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Binary,
    Decimal,
}

/// An amount in thousandths of its unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantity {
    milli: i128,
    form: Form,
}

impl Quantity {
    /// Nothing, to be added to.
    pub(crate) const ZERO: Self = Self { milli: 0, form: Form::Decimal };

    /// Parses `250m`, `64Mi`, `1e3`, `2`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end =
            text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (scale, form): (f64, Form) = match suffix {
            "n" => (1e-9, Form::Decimal),
            "u" => (1e-6, Form::Decimal),
            "m" => (1e-3, Form::Decimal),
            "" => (1.0, Form::Decimal),
            "k" => (1e3, Form::Decimal),
            "M" => (1e6, Form::Decimal),
            "G" => (1e9, Form::Decimal),
            "T" => (1e12, Form::Decimal),
            "P" => (1e15, Form::Decimal),
            "E" => (1e18, Form::Decimal),
            "Ki" => (1024.0, Form::Binary),
            "Mi" => (1024.0 * 1024.0, Form::Binary),
            "Gi" => (1024.0_f64.powi(3), Form::Binary),
            "Ti" => (1024.0_f64.powi(4), Form::Binary),
            "Pi" => (1024.0_f64.powi(5), Form::Binary),
            "Ei" => (1024.0_f64.powi(6), Form::Binary),
            _ => (10.0_f64.powi(suffix.strip_prefix(['e', 'E'])?.parse().ok()?), Form::Decimal),
        };
        let milli = match number.parse::<i128>() {
            Ok(whole) if scale >= 1.0 => whole.checked_mul(scale as i128)?.checked_mul(1000)?,
            Ok(whole) if suffix == "m" => whole,
            _ => (number.parse::<f64>().ok()? * scale * 1000.0).ceil() as i128,
        };
        Some(Self { milli, form })
    }

    /// Adds; a zero takes on the other's form.
    pub(crate) fn add(&mut self, other: Self) {
        if self.milli == 0 {
            self.form = other.form;
        }
        self.milli += other.milli;
    }

    /// Whether it is nothing.
    pub(crate) fn is_zero(self) -> bool {
        self.milli == 0
    }

    /// Thousandths.
    pub(crate) fn milli(self) -> i128 {
        self.milli
    }

    /// How much this is of `whole`, in per cent, cut off.
    pub(crate) fn percent_of(self, whole: Self) -> i64 {
        if whole.milli == 0 { 0 } else { (self.milli as f64 / whole.milli as f64 * 100.0) as i64 }
    }

    /// The canonical form: the largest suffix that leaves a whole number.
    pub(crate) fn show(self) -> String {
        if self.milli == 0 {
            return "0".to_owned();
        }
        if self.milli % 1000 != 0 {
            return format!("{}m", self.milli);
        }
        let mut number = self.milli / 1000;
        let (base, suffixes): (i128, [&str; 7]) = match self.form {
            Form::Binary => (1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
            Form::Decimal => (1000, ["", "k", "M", "G", "T", "P", "E"]),
        };
        let mut place = 0;
        while number % base == 0 && place + 1 < suffixes.len() {
            number /= base;
            place += 1;
        }
        format!("{number}{}", suffixes[place])
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.milli.cmp(&other.milli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_canonical_forms() {
        for (text, want) in [
            ("250m", "250m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("64Mi", "64Mi"),
            ("1024Mi", "1Gi"),
            ("8145516Ki", "8145516Ki"),
            ("2000", "2k"),
            ("1e3", "1k"),
            ("0", "0"),
            ("1.5Gi", "1536Mi"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().show(), want, "{text}");
        }
        assert!(Quantity::parse("x").is_none());
    }

    #[test]
    fn adds_and_compares() {
        let mut sum = Quantity::ZERO;
        sum.add(Quantity::parse("64Mi").unwrap());
        sum.add(Quantity::parse("70Mi").unwrap());
        assert_eq!(sum.show(), "134Mi");
        assert_eq!(Quantity::parse("250m").unwrap().percent_of(Quantity::parse("2").unwrap()), 12);
    }
}
