//! How the server's seats are divided among the priority levels.
//!
//! **Contract**: pure. Each level has its nominal share; what it may lend and does not need goes to those that need
//! more, in proportion to their need.
//! **Upstream**: KEP-1040; `k8s.io/apiserver/pkg/util/flowcontrol/{apf_controller.go,conc_alloc.go}`.

/// What a level's configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shares {
    /// `nominalConcurrencyShares`
    pub(super) nominal: u32,
    /// `lendablePercent`
    pub(super) lendable: u32,
    /// `borrowingLimitPercent`; none: as much as there is.
    pub(super) borrowing: Option<u32>,
}

/// The seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Its share.
    pub(super) nominal: u32,
    /// What it keeps whatever others need.
    pub(super) min: u32,
    /// What it never exceeds.
    pub(super) max: u32,
}

/// The bounds of every level when `total` seats are divided.
pub(super) fn bounds(levels: &[Shares], total: u32) -> Vec<Bounds> {
    let sum: u64 = levels.iter().map(|level| u64::from(level.nominal)).sum();
    let one = |level: &Shares| {
        let nominal = (u64::from(level.nominal) * u64::from(total)).div_ceil(sum.max(1));
        let percent = |percent: u32| (nominal * u64::from(percent) + 50) / 100;
        let min = nominal - percent(level.lendable).min(nominal);
        let max = match level.borrowing {
            Some(limit) => nominal + percent(limit),
            None => min + u64::from(total),
        };
        let seats = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Bounds { nominal: seats(nominal), min: seats(min), max: seats(max) }
    };
    levels.iter().map(one).collect()
}

/// What a level has needed since the last division.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) bounds: Bounds,
    /// The most seats that requests occupied or waited for.
    pub(super) peak: u32,
    /// The same, averaged over time.
    pub(super) smoothed: f64,
}

/// How many seats each level has until the next division.
pub(super) fn divide(needs: &[Need], total: u32) -> Vec<u32> {
    // Nobody falls below what he keeps, nor below what he needed of his own share.
    let lower = |need: &Need| f64::from(need.bounds.min.max(need.bounds.nominal.min(need.peak)));
    let upper = |need: &Need| f64::from(need.bounds.max).max(lower(need));
    let at = |need: &Need, fraction: f64| {
        let target = need.smoothed.max(lower(need)).max(1.0);
        (target * fraction).clamp(lower(need), upper(need))
    };
    let sum = |fraction: f64| needs.iter().map(|need| at(need, fraction)).sum::<f64>();
    let (mut low, mut high) = (0.0, f64::from(total.max(1)));
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if sum(middle) < f64::from(total) { low = middle } else { high = middle }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by u32 above")]
    let seats = |need: &Need| at(need, low).round() as u32;
    needs.iter().map(seats).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: [Shares; 3] = [
        Shares { nominal: 30, lendable: 33, borrowing: None },
        Shares { nominal: 100, lendable: 90, borrowing: None },
        Shares { nominal: 20, lendable: 50, borrowing: Some(50) },
    ];

    #[test]
    fn shares_become_seats() {
        assert_eq!(
            bounds(&DEFAULT, 600),
            [
                Bounds { nominal: 120, min: 80, max: 680 },
                Bounds { nominal: 400, min: 40, max: 640 },
                Bounds { nominal: 80, min: 40, max: 120 },
            ]
        );
        assert_eq!(bounds(&[Shares::default()], 600), [Bounds { nominal: 0, min: 0, max: 600 }]);
    }

    #[test]
    fn what_is_not_needed_is_lent_and_comes_back() {
        let need = |peaks: [u32; 3]| -> Vec<u32> {
            let bounds = bounds(&DEFAULT, 600);
            let needs = bounds.iter().zip(peaks).map(|(bounds, peak)| Need {
                bounds: *bounds,
                peak,
                smoothed: f64::from(peak),
            });
            divide(&needs.collect::<Vec<_>>(), 600)
        };
        // One needs everything: it gets what the others may lend.
        let busy = need([1000, 0, 0]);
        assert!(busy[0] > 500 && busy[1] >= 40 && busy[2] >= 40, "{busy:?}");
        // All need more than there is: each has its share at least.
        let full = need([1000, 1000, 1000]);
        assert!(full[0] >= 120 && full[1] >= 400 && full[2] >= 80, "{full:?}");
        // A borrowing limit holds.
        assert!(need([0, 0, 1000])[2] <= 120);
        // Nothing is lost.
        assert!((598..=602).contains(&need([10, 10, 10]).iter().sum::<u32>()));
    }
}
