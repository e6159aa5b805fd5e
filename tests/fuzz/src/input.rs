//! Large inputs in few bytes.

use std::borrow::Cow;

/// The input as a target sees it.
///
/// One that begins with a line such as `repeat 1000` stands for a larger one: of what follows, divided by lines of one
/// `~`, the second part is repeated so many times between the first and the third, as long as the whole has at most
/// `largest` bytes. Both people and libFuzzer write large inputs so.
#[must_use]
pub fn grown(input: &[u8], largest: usize) -> Cow<'_, [u8]> {
    written_out(input, largest).map_or(Cow::Borrowed(input), Cow::Owned)
}

fn written_out(input: &[u8], largest: usize) -> Option<Vec<u8>> {
    let (times, parts) = cut(input.strip_prefix(b"repeat ")?, b"\n")?;
    let times: usize = std::str::from_utf8(times).ok()?.parse().ok()?;
    let (head, parts) = cut(parts, b"\n~\n")?;
    let (unit, tail) = cut(parts, b"\n~\n")?;
    let room = largest.saturating_sub(head.len() + tail.len());
    let times = times.min(room.checked_div(unit.len()).unwrap_or(0));
    let mut grown = head.to_vec();
    grown.extend_from_slice(&unit.repeat(times));
    grown.extend_from_slice(tail);
    Some(grown)
}

/// What stands before the first mark, and what follows it.
pub(crate) fn cut<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|part| part == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}
