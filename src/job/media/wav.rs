//! The length of a WAV (RIFF): a list of chunks, of which `fmt ` says how many bytes a second has, and `data` how many
//! bytes the sound has.

/// A program that writes into a pipe doesn't know the length, and writes one that is too large.
const UNKNOWN_MIN: u64 = 0x7fff_ff00;

/// It ends before the end that it says.
pub(super) struct Cut;

/// The duration in milliseconds, if the start of the file says so. `bytes` is the length of the whole file.
pub(super) fn duration_ms(head: &[u8], bytes: u64) -> Result<Option<u64>, Cut> {
    let mut rate = None;
    let mut chunks = head.get(12..).unwrap_or_default();
    let mut place = 12;
    while let Some((name, behind)) = chunks.split_first_chunk::<4>()
        && let Some((length, content)) = behind.split_first_chunk::<4>()
    {
        let length = u64::from(u32::from_le_bytes(*length));
        let begins = place + 8;
        match name {
            b"data" if length == 0 || length >= UNKNOWN_MIN => return Ok(None),
            b"data" if begins + length > bytes => return Err(Cut),
            b"data" => return Ok(rate.and_then(|rate| (length * 1000).checked_div(rate))),
            b"fmt " => {
                rate = content
                    .get(8..)
                    .and_then(<[u8]>::first_chunk)
                    .map(|rate| u32::from_le_bytes(*rate).into())
            }
            _ => {}
        }
        // A chunk of odd length is followed by one byte.
        let whole = length + length % 2;
        place = begins + whole;
        chunks = usize::try_from(whole).ok().and_then(|whole| content.get(whole..)).unwrap_or_default();
    }
    // The sound itself begins behind what was kept, so the file's own length has to do.
    let whole =
        head.get(4..).and_then(<[u8]>::first_chunk).map(|length| u64::from(u32::from_le_bytes(*length)) + 8);
    if whole.is_some_and(|whole| whole > bytes && whole < UNKNOWN_MIN) { Err(Cut) } else { Ok(None) }
}
