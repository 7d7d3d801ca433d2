//! The least memory that is enough, found by halving. Pure.

/// Unit of the search. Unit: MiB.
pub const STEP_MIB: u32 = 16;

/// Returns the least multiple of [`STEP_MIB`] in `from..=to` with which `works` holds, taking for granted that more
/// memory never hurts; None when not even `to` is enough.
///
/// # Errors
/// Those of `works`.
pub fn enough<E>(
    from: u32,
    to: u32,
    mut works: impl FnMut(u32) -> Result<bool, E>,
) -> Result<Option<u32>, E> {
    let (mut low, mut high) = (from / STEP_MIB, to / STEP_MIB);
    if !works(high * STEP_MIB)? {
        return Ok(None);
    }
    while low < high {
        let middle = low.midpoint(high);
        if works(middle * STEP_MIB)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(Some(high * STEP_MIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_found_wherever_it_is() {
        for border in [96, 112, 208, 512] {
            let found = enough(96, 512, |mib| Ok::<_, ()>(mib >= border));
            assert_eq!(found, Ok(Some(border)));
        }
        assert_eq!(enough(96, 512, |_| Ok::<_, ()>(false)), Ok(None));
    }

    #[test]
    fn few_attempts_are_enough() {
        let mut attempts = 0;
        let found = enough(96, 512, |mib| {
            attempts += 1;
            Ok::<_, ()>(mib >= 208)
        });
        assert_eq!((found, attempts), (Ok(Some(208)), 6));
    }
}
