//! Names of machines that nobody named one by one: a custom image's pattern, made particular by the first card. Pure.

/// Stands for the hardware address, 12 hexadecimal digits.
const WHOLE: &str = "{mac}";
/// Stands for the last half of the hardware address, 6 hexadecimal digits: the first half is the maker's.
const HALF: &str = "{mac6}";

/// Tells whether the pattern gives a name only to a machine with a card.
pub fn needs_card(pattern: &str) -> bool {
    pattern.contains(WHOLE) || pattern.contains(HALF)
}

/// Returns the name that the pattern gives the machine whose first card has this hardware address, such as
/// `52:54:00:12:34:56`. None if it needs an address and there is none.
pub fn expand(pattern: &str, address: Option<&str>) -> Option<String> {
    if !needs_card(pattern) {
        return Some(pattern.to_owned());
    }
    let digits: String = address?.chars().filter(char::is_ascii_hexdigit).collect();
    let half = digits.get(digits.len().checked_sub(6)?..)?;
    Some(pattern.replace(WHOLE, &digits).replace(HALF, half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_made_particular_by_the_first_card() {
        let card = Some("52:54:00:12:ab:56");
        let rows = [
            ("node-{mac6}", card, Some("node-12ab56")),
            ("{mac}.example.org", card, Some("52540012ab56.example.org")),
            ("{mac6}-{mac6}", card, Some("12ab56-12ab56")),
            ("builder", None, Some("builder")),
            ("node-{mac6}", None, None),
            ("node-{mac6}", Some(""), None),
        ];
        for (pattern, address, expected) in rows {
            assert_eq!(expand(pattern, address).as_deref(), expected, "{pattern} {address:?}");
        }
    }
}
