//! Pictures that need no decoder of ours: uncompressed bitmaps, some kilobytes each.

use hexpop_bench::dataset::Rng;

use super::record::fingerprint;

const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;
/// File header and `BITMAPINFOHEADER`, in bytes.
const HEADER_BYTES: u32 = 14 + 40;

/// A 64 × 48 picture in 24 bits: a sky over a house in colours that follow from `name`, always the
/// same for the same name. 9,270 bytes.
pub(super) fn bitmap(name: &str) -> Vec<u8> {
    let mut rng = Rng::new(fingerprint(name.as_bytes()));
    let mut color = || {
        let [blue, green, red, ..] = rng.next_u64().to_le_bytes();
        [blue, green, red]
    };
    let (sky, wall, roof, ground) = (color(), color(), color(), color());
    // Rows of 64 pixels are 192 bytes, a multiple of four, so that they need no padding.
    let pixel_bytes = WIDTH * HEIGHT * 3;
    let mut file = Vec::with_capacity((HEADER_BYTES + pixel_bytes) as usize);
    file.extend_from_slice(b"BM");
    for field in [HEADER_BYTES + pixel_bytes, 0, HEADER_BYTES, 40, WIDTH, HEIGHT] {
        file.extend_from_slice(&field.to_le_bytes());
    }
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&24_u16.to_le_bytes());
    for field in [0, pixel_bytes, 2_835, 2_835, 0, 0] {
        file.extend_from_slice(&u32::to_le_bytes(field));
    }
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let from_middle = x.abs_diff(WIDTH / 2);
            let pixel = match y {
                0..10 => ground,
                10..28 if from_middle < 18 => wall,
                28..46 if from_middle < 46 - y => roof,
                _ => sky,
            };
            file.extend_from_slice(&pixel);
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_a_whole_bitmap_and_follows_from_its_name() {
        let picture = bitmap("lst_000001/1");
        assert_eq!(picture.len(), 9_270);
        assert_eq!(&picture[..2], b"BM");
        assert_eq!(u32::from_le_bytes(picture[2..6].try_into().unwrap()), 9_270);
        assert_eq!(picture, bitmap("lst_000001/1"));
        assert_ne!(picture, bitmap("lst_000001/2"));
    }
}
