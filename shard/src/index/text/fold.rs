//! Words as search compares them: lower case, without accents, split at everything that is neither
//! letter nor digit.

use std::sync::LazyLock;

/// Words longer than this are cut: nobody types them, and they are keys of the index.
const WORD_CHARS_MAX: usize = 40;

/// The words of a text, folded, in their order.
///
/// Folding is: Unicode lower case, combining marks left out, letters with accents to the letter
/// without (`é` to `e`, `ß` to `ss`, `ø` to `o`) in the Latin, Greek and Cyrillic scripts. Scripts
/// without spaces between words come out as one word per run of letters.
#[must_use]
pub fn fold_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for_each_word(text, &mut String::new(), |word| words.push(word.to_owned()));
    words
}

/// Shows the words of [`fold_words`] one after the other in `word`, without a string for each.
pub(super) fn for_each_word(text: &str, word: &mut String, mut visit: impl FnMut(&str)) {
    word.clear();
    let mut chars = 0;
    for letter in text.chars() {
        if is_combining(letter) {
            continue;
        }
        if !letter.is_alphanumeric() {
            if !word.is_empty() {
                visit(word);
                word.clear();
            }
            chars = 0;
            continue;
        }
        chars += 1;
        if chars <= WORD_CHARS_MAX {
            fold_into(letter, word);
        }
    }
    if !word.is_empty() {
        visit(word);
    }
}

/// The combining diacritical marks, with which accents may be written apart from their letter.
const fn is_combining(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}')
}

fn fold_into(letter: char, out: &mut String) {
    if letter.is_ascii() {
        out.push(letter.to_ascii_lowercase());
        return;
    }
    for lower in letter.to_lowercase().filter(|lower| !is_combining(*lower)) {
        match TABLE.binary_search_by_key(&lower, |(accented, _)| *accented) {
            Ok(at) => out.push_str(TABLE.get(at).map_or("", |(_, plain)| plain)),
            Err(_) => out.push(lower),
        }
    }
}

static TABLE: LazyLock<Vec<(char, &'static str)>> = LazyLock::new(|| {
    let mut table: Vec<_> = FOLDS
        .iter()
        .flat_map(|(plain, accented)| accented.chars().map(move |letter| (letter, *plain)))
        .collect();
    table.sort_unstable();
    table
});

/// The letter without accents, and the lower-case letters that become it.
#[rustfmt::skip]
const FOLDS: &[(&str, &str)] = &[
    ("a", "àáâãäåāăąǎǟǡǻȁȃȧḁạảấầẩẫậắằẳẵặ"),
    ("ae", "æǣǽ"),
    ("b", "ḃḅḇ"),
    ("c", "çćĉċčḉ"),
    ("d", "ðďđḋḍḏḑḓ"),
    ("dz", "ǆǳ"),
    ("e", "èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ"),
    ("f", "ƒḟ"),
    ("g", "ĝğġģǧǵḡ"),
    ("h", "ĥħȟḣḥḧḩḫẖ"),
    ("i", "ìíîïĩīĭįıǐȉȋḭḯỉị"),
    ("ij", "ĳ"),
    ("j", "ĵǰ"),
    ("k", "ķĸǩḱḳḵ"),
    ("l", "ĺļľŀłḷḹḻḽ"),
    ("lj", "ǉ"),
    ("m", "ḿṁṃ"),
    ("n", "ñńņňŉŋǹṅṇṉṋ"),
    ("nj", "ǌ"),
    ("o", "òóôõöøōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợǿ"),
    ("oe", "œ"),
    ("p", "ṕṗ"),
    ("r", "ŕŗřȑȓṙṛṝṟ"),
    ("s", "śŝşšſșṡṣṥṧṩẛ"),
    ("ss", "ß"),
    ("t", "ţťŧțṫṭṯṱẗ"),
    ("th", "þ"),
    ("u", "ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự"),
    ("v", "ṽṿ"),
    ("w", "ŵẁẃẅẇẉẘ"),
    ("x", "ẋẍ"),
    ("y", "ýÿŷȳẏẙỳỵỷỹ"),
    ("z", "źżžẑẓẕ"),
    ("α", "άἀἁἂἃἄἅἆἇὰάᾀᾁᾂᾃᾄᾅᾆᾇᾰᾱᾲᾳᾴᾶᾷ"),
    ("β", "ϐ"),
    ("ε", "έϵἐἑἒἓἔἕὲέ"),
    ("η", "ήἠἡἢἣἤἥἦἧὴήᾐᾑᾒᾓᾔᾕᾖᾗῂῃῄῆῇ"),
    ("θ", "ϑ"),
    ("ι", "ΐίϊἰἱἲἳἴἵἶἷὶίιῐῑῒΐῖῗ"),
    ("κ", "ϰ"),
    ("ο", "όὀὁὂὃὄὅὸό"),
    ("π", "ϖ"),
    ("ρ", "ϱῤῥ"),
    ("σ", "ςϲ"),
    ("υ", "ΰϋύὐὑὒὓὔὕὖὗὺύῠῡῢΰῦῧ"),
    ("φ", "ϕ"),
    ("ω", "ώὠὡὢὣὤὥὦὧὼώᾠᾡᾢᾣᾤᾥᾦᾧῲῳῴῶῷ"),
    ("г", "ѓ"),
    ("е", "ѐё"),
    ("и", "ѝ"),
    ("к", "ќ"),
    ("у", "ў"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_split() {
        assert_eq!(fold_words("L'Élysée, Straße 12b"), ["l", "elysee", "strasse", "12b"]);
        assert_eq!(
            fold_words("Ångström ŁÓDŹ ğüzel İstanbul"),
            ["angstrom", "lodz", "guzel", "istanbul"]
        );
        assert_eq!(fold_words("Cafe\u{301} \u{1f3e0} Αθήνα Ёлка"), ["cafe", "αθηνα", "елка"]);
        assert_eq!(fold_words(" -- "), Vec::<String>::new());
        assert_eq!(fold_words(&"x".repeat(100)), ["x".repeat(40)]);
    }

    #[test]
    fn every_letter_is_in_the_table_once() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 != pair[1].0));
        assert!(TABLE.iter().all(|(letter, _)| letter.to_lowercase().eq([*letter])));
    }
}
