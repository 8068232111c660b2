//! One page of many names: the smallest after a cursor, whatever order they come in.

use std::collections::BinaryHeap;

/// The `limit` smallest items greater than `after` (None: of all), ascending.
///
/// Looks at each item once and holds at most `limit` of them: O(n log limit) at worst, O(n) when
/// few of those that come are among the smallest so far. Equal items count each for itself. Where
/// the order is already there, as in a `BTreeMap`, its own `range` is the better choice.
pub(super) fn page<T: Ord>(
    items: impl IntoIterator<Item = T>,
    after: Option<&T>,
    limit: usize,
) -> Vec<T> {
    // The greatest on top. Not reserved beforehand: a limit may be large, and the items few.
    let mut smallest = BinaryHeap::new();
    for item in items {
        if after.is_some_and(|after| item <= *after) {
            continue;
        }
        if smallest.len() < limit {
            smallest.push(item);
        } else if let Some(mut greatest) = smallest.peek_mut()
            && item < *greatest
        {
            *greatest = item;
        }
    }
    smallest.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let names = ["d", "a", "e", "c", "b"];
        assert_eq!(page(names, None, 2), ["a", "b"]);
        assert_eq!(page(names, Some(&"b"), 2), ["c", "d"]);
        assert_eq!(page(names, Some(&"d"), 2), ["e"]);
        assert_eq!(page(names, Some(&"e"), 2), [""; 0]);
        assert_eq!(
            page(names, Some(&"bb"), 1),
            ["c"],
            "the cursor's own may be gone"
        );
        assert_eq!(page(names, None, 0), [""; 0]);
    }

    proptest! {
        #[test]
        fn a_page_is_a_part_of_the_sorted_whole(
            names in prop::collection::vec("[a-c]{0,3}", 0..60), after in prop::option::of("[a-c]{0,3}"),
            limit in 0usize..70,
        ) {
            let page = page(names.iter().map(String::as_str), after.as_deref().as_ref(), limit);
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.retain(|name| after.as_ref().is_none_or(|after| name > after));
            sorted.truncate(limit);
            prop_assert_eq!(page, sorted);
        }
    }
}
