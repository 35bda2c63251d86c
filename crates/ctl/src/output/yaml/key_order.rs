//! go-yaml's order of keys: other characters before letters, runs of digits by value.

use std::cmp::Ordering;

/// Compares two keys. The order is upstream's, and not transitive for odd keys: do not hand it to a sort that minds.
pub(super) fn natural_order(left: &str, right: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut digits = false;
    for at in 0..a.len().min(b.len()) {
        if a[at] == b[at] {
            digits = a[at].is_ascii_digit();
            continue;
        }
        return match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
            (true, true) => a[at].cmp(&b[at]),
            // After a digit the letter comes first, elsewhere last.
            (true, false) => {
                if digits {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (false, true) => {
                if digits {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (false, false) => digit_order(&a, &b, at),
        };
    }
    a.len().cmp(&b.len())
}

/// Compares the runs of digits that start at the first difference: by value, by length, by character.
fn digit_order(a: &[char], b: &[char], at: usize) -> Ordering {
    // Zeros count once a digit other than zero stands before them.
    let zero = a[at] == '0' || b[at] == '0';
    let significant = zero && a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let run = |text: &[char]| -> Vec<char> {
        text[at..].iter().take_while(|c| c.is_ascii_digit()).copied().collect()
    };
    let (x, y) = (run(a), run(b));
    let number = |run: &[char]| -> Vec<char> {
        run.iter().skip_while(|c| !significant && **c == '0').copied().collect()
    };
    let (m, n) = (number(&x), number(&y));
    let by_value = m.len().cmp(&n.len()).then_with(|| m.cmp(&n));
    by_value.then_with(|| x.len().cmp(&y.len())).then_with(|| a[at].cmp(&b[at]))
}
