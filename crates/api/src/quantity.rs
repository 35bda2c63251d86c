//! Amounts of resources: `500m`, `1Gi`, `1.5e3`.
//!
//! **Contract**: parsing is exact down to 10⁻⁹ and rounds up beyond; printing gives upstream's canonical form, in the
//! notation in which the amount was written.
//! **Upstream**: `k8s.io/apimachinery/pkg/api/resource` (`Quantity`).

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

const NANOS: i128 = 1_000_000_000;
const REGEX: &str = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// The text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '{REGEX}'")]
pub struct ParseError;

/// The notation in which an amount is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `1k`, `500m`
    #[default]
    DecimalSi,
    /// `1Ki`
    BinarySi,
    /// `1e3`
    DecimalExponent,
}

/// An amount. Equality and order are of amounts: `1000m` equals `1`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// So many whole units.
    pub const fn new(units: i64) -> Self {
        Self { nanos: units as i128 * NANOS, format: Format::DecimalSi }
    }

    /// So many thousandths.
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis as i128 * (NANOS / 1000), format: Format::DecimalSi }
    }

    /// So many thousand-millionths.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos: nanos as i128, format: Format::DecimalSi }
    }

    /// So many bytes, printed with binary suffixes.
    pub const fn bytes(bytes: i64) -> Self {
        Self { nanos: bytes as i128 * NANOS, format: Format::BinarySi }
    }

    /// Whole units, rounded up.
    pub fn value(self) -> i64 {
        saturate(div_up(self.nanos, NANOS))
    }

    /// Thousandths, rounded up: what CPU is counted in.
    pub fn millis(self) -> i64 {
        saturate(div_up(self.nanos, NANOS / 1000))
    }

    /// The amount as a float.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it has no fraction.
    pub fn is_integer(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The notation of its printed form.
    pub fn format(self) -> Format {
        self.format
    }
}

fn div_up(a: i128, b: i128) -> i128 {
    a.div_euclid(b) + i128::from(a.rem_euclid(b) != 0)
}

fn saturate(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let number_end = text.bytes().position(|b| !matches!(b, b'0'..=b'9' | b'.' | b'+' | b'-'));
        let (number, suffix) = text.split_at(number_end.unwrap_or(text.len()));
        let (negative, digits) = match number.as_bytes().first() {
            Some(b'-') => (true, &number[1..]),
            Some(b'+') => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(ParseError);
        }
        let (base, exponent, format) = parse_suffix(suffix)?;
        let nanos = scale(whole, fraction, base, exponent);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

fn parse_suffix(suffix: &str) -> Result<(u32, i32, Format), ParseError> {
    if let Some(power) = BINARY[1..].iter().position(|s| *s == suffix) {
        return Ok((2, 10 * (power as i32 + 1), Format::BinarySi));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((10, *exponent, Format::DecimalSi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError)?;
    Ok((10, exponent.parse().map_err(|_| ParseError)?, Format::DecimalExponent))
}

/// The magnitude in 10⁻⁹, rounded up, saturating far above anything that occurs.
fn scale(whole: &str, fraction: &str, base: u32, exponent: i32) -> i128 {
    const MAX: i128 = i64::MAX as i128 * NANOS;
    let mut mantissa: i128 = 0;
    let mut point = 0i32;
    for (i, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        if mantissa > MAX {
            // Digits beyond what can matter: whole ones scale, fractional ones are dropped.
            point -= i32::from(i < whole.len());
            continue;
        }
        mantissa = mantissa * 10 + i128::from(digit - b'0');
        point += i32::from(i >= whole.len());
    }
    if mantissa == 0 {
        return 0;
    }
    let mut decimal = 9 - point;
    if base == 2 {
        mantissa = mantissa.saturating_mul(1i128 << exponent.clamp(0, 60));
    } else {
        decimal = decimal.saturating_add(exponent);
    }
    let nanos = if decimal >= 0 {
        10i128.checked_pow(decimal.unsigned_abs()).and_then(|p| mantissa.checked_mul(p)).unwrap_or(MAX)
    } else {
        10i128.checked_pow(decimal.unsigned_abs()).map_or(1, |p| div_up(mantissa, p))
    };
    nanos.min(MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANOS;
        if self.format == Format::BinarySi && !small && self.is_integer() {
            let (mut units, mut power) = (self.nanos / NANOS, 0);
            while units % 1024 == 0 && power + 1 < BINARY.len() {
                units /= 1024;
                power += 1;
            }
            return write!(f, "{units}{}", BINARY[power]);
        }
        let (mut number, mut index) = (self.nanos, 0);
        while number % 1000 == 0 && index + 1 < DECIMAL.len() {
            number /= 1000;
            index += 1;
        }
        let (suffix, exponent) = DECIMAL[index];
        match self.format {
            Format::DecimalExponent if exponent != 0 => write!(f, "{number}e{exponent}"),
            Format::DecimalExponent => write!(f, "{number}"),
            _ => write!(f, "{number}{suffix}"),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
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
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    /// The sum, in the notation of the first amount that is not zero.
    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1000", "1k"),
            ("12345678", "12345678"),
            ("1e3", "1e3"),
            ("1500e-3", "1500e-3"),
            ("-1", "-1"),
            ("+2k", "2k"),
            (".5", "500m"),
            ("1.", "1"),
            ("1u", "1u"),
            ("0.1n", "1n"),
            ("129e6", "129e6"),
            ("123Mi", "123Mi"),
            ("8Ei", "9223372036854775807"),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn the_canonical_form_reads_back_as_itself() {
        let suffixes = ["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "E-3"];
        for number in
            ["0", "1", "7", "10", "999", "1000", "1001", "1024", "1536", "123456", "0.5", "1.25", "-3"]
        {
            for suffix in suffixes {
                let amount: Quantity = format!("{number}{suffix}").parse().unwrap();
                let printed = amount.to_string();
                let again: Quantity = printed.parse().unwrap();
                assert_eq!(
                    (again, again.to_string()),
                    (amount, printed.clone()),
                    "{number}{suffix}: {printed}"
                );
            }
        }
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for text in ["", "a", "1a", "1 Gi", "--1", "1.2.3", "1e", "Mi", "1ki", "."] {
            assert_eq!(text.parse::<Quantity>(), Err(ParseError), "{text}");
        }
    }

    #[test]
    fn compares_and_adds_amounts_of_any_notation() {
        let q = |s: &str| s.parse::<Quantity>().unwrap();
        assert_eq!(q("1000m"), q("1"));
        assert!(q("1Gi") > q("1G"));
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("1") - q("250m")).to_string(), "750m");
        assert_eq!(q("1500m").value(), 2);
        assert_eq!(q("0.1").millis(), 100);
        assert_eq!(Quantity::bytes(1 << 30).to_string(), "1Gi");
    }
}
