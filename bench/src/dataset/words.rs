//! What listings say, in eight languages. Phrases that follow a noun do not agree with it in any of
//! them, so that every combination reads well.

/// The words of one language.
#[derive(Debug)]
pub(super) struct Language {
    /// ISO 639-1.
    pub(super) code: &'static str,
    /// The property types, in the order of `PROPERTIES`.
    properties: [&'static str; 11],
    /// What a title says of an amenity, in the order of [`FEATURES`].
    features: [&'static str; 7],
    /// What a title says when there is nothing else to say.
    plain: [&'static str; 3],
    /// Between a title and the place.
    at: &'static str,
    /// The words of a description: "area", "rooms", "floor", "built in".
    facts: [&'static str; 4],
    /// How a description goes on.
    sentences: [&'static str; 5],
}

/// The amenities that titles mention.
const FEATURES: [&str; 7] =
    ["terrace", "garden", "pool", "balcony", "parking", "sea_view", "elevator"];

impl Language {
    /// The word for the property type at `word`.
    pub(super) fn property(&self, word: usize) -> &'static str {
        self.properties.get(word).copied().unwrap_or_default()
    }

    /// A title: property, a feature it has (else a plain remark chosen by `pick`), and the place.
    pub(super) fn title(&self, word: usize, amenities: &[&str], pick: u64, place: &str) -> String {
        let feature = FEATURES
            .iter()
            .zip(self.features)
            .find(|(amenity, _phrase)| amenities.contains(amenity))
            .map(|(_amenity, phrase)| phrase);
        let remark = feature.unwrap_or_else(|| choose(&self.plain, pick));
        format!("{} {remark}{}{place}", self.property(word), self.at)
    }

    /// A description from the facts that are known, and two sentences chosen by `pick`.
    pub(super) fn description(&self, facts: [Option<u64>; 4], pick: u64) -> String {
        let known: Vec<String> = self
            .facts
            .iter()
            .zip(facts)
            .zip([" m²", "", "", ""])
            .filter_map(|((word, fact), unit)| fact.map(|fact| format!("{word} {fact}{unit}")))
            .collect();
        let first = choose(&self.sentences, pick);
        let second = choose(&self.sentences, pick + 1 + pick % 3);
        let facts = known.join(", ");
        if facts.is_empty() {
            format!("{first} {second}")
        } else {
            format!("{facts}. {first} {second}")
        }
    }
}

fn choose(items: &[&'static str], pick: u64) -> &'static str {
    let index = usize::try_from(pick).unwrap_or(0) % items.len().max(1);
    items.get(index).copied().unwrap_or_default()
}

/// The language of that code; English when there is none.
pub(super) fn language(code: &str) -> &'static Language {
    LANGUAGES.iter().find(|language| language.code == code).unwrap_or(&LANGUAGES[0])
}

static LANGUAGES: [Language; 8] = [
    Language {
        code: "en",
        properties: [
            "Apartment",
            "House",
            "Villa",
            "Penthouse",
            "Studio",
            "Loft",
            "Shop",
            "Building plot",
            "Garage",
            "Office",
            "Warehouse",
        ],
        features: [
            "with terrace",
            "with garden",
            "with pool",
            "with balcony",
            "with parking space",
            "with sea view",
            "with lift",
        ],
        plain: ["in a quiet street", "near public transport", "to be renovated"],
        at: " in ",
        facts: ["Area", "rooms", "floor", "built in"],
        sentences: [
            "Close to shops, schools and public transport.",
            "Available at once, viewings by appointment.",
            "Well kept building with low service charges.",
            "Bright rooms and a practical layout.",
            "A rare opportunity in this part of town.",
        ],
    },
    Language {
        code: "it",
        properties: [
            "Appartamento",
            "Casa indipendente",
            "Villa",
            "Attico",
            "Monolocale",
            "Loft",
            "Negozio",
            "Terreno edificabile",
            "Box auto",
            "Ufficio",
            "Magazzino",
        ],
        features: [
            "con terrazzo",
            "con giardino",
            "con piscina",
            "con balcone",
            "con posto auto",
            "con vista mare",
            "con ascensore",
        ],
        plain: ["in strada tranquilla", "vicino alla metro", "da ristrutturare"],
        at: " in zona ",
        facts: ["Superficie", "locali", "piano", "anno di costruzione"],
        sentences: [
            "Vicino a negozi, scuole e mezzi pubblici.",
            "Libero subito, visite su appuntamento.",
            "Stabile ben tenuto con spese contenute.",
            "Ambienti luminosi e distribuzione razionale.",
            "Un'occasione rara in questa parte della città.",
        ],
    },
    Language {
        code: "es",
        properties: [
            "Piso",
            "Casa",
            "Chalet",
            "Ático",
            "Estudio",
            "Loft",
            "Local comercial",
            "Solar",
            "Plaza de garaje",
            "Oficina",
            "Nave industrial",
        ],
        features: [
            "con terraza",
            "con jardín",
            "con piscina",
            "con balcón",
            "con aparcamiento",
            "con vistas al mar",
            "con ascensor",
        ],
        plain: ["en calle tranquila", "cerca del metro", "para reformar"],
        at: " en ",
        facts: ["Superficie", "habitaciones", "planta", "año de construcción"],
        sentences: [
            "Cerca de comercios, colegios y transporte público.",
            "Disponible de inmediato, visitas con cita previa.",
            "Finca bien conservada con pocos gastos de comunidad.",
            "Estancias con mucha luz y buena distribución.",
            "Una oportunidad poco frecuente en esta zona.",
        ],
    },
    Language {
        code: "de",
        properties: [
            "Wohnung",
            "Haus",
            "Villa",
            "Penthouse",
            "Einzimmerwohnung",
            "Loft",
            "Ladenlokal",
            "Baugrundstück",
            "Garage",
            "Büro",
            "Lagerhalle",
        ],
        features: [
            "mit Terrasse",
            "mit Garten",
            "mit Pool",
            "mit Balkon",
            "mit Stellplatz",
            "mit Meerblick",
            "mit Aufzug",
        ],
        plain: ["in ruhiger Lage", "nahe der U-Bahn", "zum Renovieren"],
        at: " in ",
        facts: ["Fläche", "Zimmer", "Etage", "Baujahr"],
        sentences: [
            "Geschäfte, Schulen und öffentlicher Nahverkehr in der Nähe.",
            "Sofort verfügbar, Besichtigung nach Vereinbarung.",
            "Gepflegtes Gebäude mit niedrigen Nebenkosten.",
            "Helle Räume und ein praktischer Grundriss.",
            "Eine seltene Gelegenheit in dieser Gegend.",
        ],
    },
    Language {
        code: "fr",
        properties: [
            "Appartement",
            "Maison",
            "Villa",
            "Appartement sur le toit",
            "Studio",
            "Loft",
            "Local commercial",
            "Terrain à bâtir",
            "Garage",
            "Bureau",
            "Entrepôt",
        ],
        features: [
            "avec terrasse",
            "avec jardin",
            "avec piscine",
            "avec balcon",
            "avec parking",
            "avec vue sur mer",
            "avec ascenseur",
        ],
        plain: ["dans une rue calme", "près du métro", "à rénover"],
        at: ", quartier ",
        facts: ["Surface", "pièces", "étage", "année de construction"],
        sentences: [
            "Proche des commerces, des écoles et des transports.",
            "Disponible de suite, visites sur rendez-vous.",
            "Immeuble bien entretenu, faibles charges.",
            "Pièces lumineuses et plan fonctionnel.",
            "Une occasion rare dans ce quartier.",
        ],
    },
    Language {
        code: "pt",
        properties: [
            "Apartamento",
            "Moradia",
            "Vivenda",
            "Cobertura",
            "Estúdio",
            "Loft",
            "Loja",
            "Terreno urbano",
            "Garagem",
            "Escritório",
            "Armazém",
        ],
        features: [
            "com terraço",
            "com jardim",
            "com piscina",
            "com varanda",
            "com estacionamento",
            "com vista mar",
            "com elevador",
        ],
        plain: ["em rua sossegada", "perto do metro", "para recuperar"],
        at: " em ",
        facts: ["Área", "divisões", "andar", "ano de construção"],
        sentences: [
            "Perto de lojas, escolas e transportes públicos.",
            "Disponível de imediato, visitas por marcação.",
            "Prédio bem conservado com condomínio baixo.",
            "Divisões com muita luz e boa organização.",
            "Uma oportunidade rara nesta zona.",
        ],
    },
    Language {
        code: "nl",
        properties: [
            "Appartement",
            "Huis",
            "Villa",
            "Penthouse",
            "Studio",
            "Loft",
            "Winkelruimte",
            "Bouwkavel",
            "Garage",
            "Kantoor",
            "Opslagruimte",
        ],
        features: [
            "met terras",
            "met tuin",
            "met zwembad",
            "met balkon",
            "met parkeerplaats",
            "met zeezicht",
            "met lift",
        ],
        plain: ["in een rustige straat", "dicht bij het station", "om op te knappen"],
        at: " in ",
        facts: ["Oppervlakte", "kamers", "verdieping", "bouwjaar"],
        sentences: [
            "Dicht bij winkels, scholen en openbaar vervoer.",
            "Direct beschikbaar, bezichtiging op afspraak.",
            "Goed onderhouden gebouw met lage servicekosten.",
            "Lichte kamers en een praktische indeling.",
            "Een zeldzame kans in deze buurt.",
        ],
    },
    Language {
        code: "pl",
        properties: [
            "Mieszkanie",
            "Dom",
            "Willa",
            "Penthouse",
            "Kawalerka",
            "Loft",
            "Lokal użytkowy",
            "Działka budowlana",
            "Garaż",
            "Biuro",
            "Magazyn",
        ],
        features: [
            "z tarasem",
            "z ogrodem",
            "z basenem",
            "z balkonem",
            "z miejscem parkingowym",
            "z widokiem na morze",
            "z windą",
        ],
        plain: ["na cichej ulicy", "blisko metra", "do remontu"],
        at: ", ",
        facts: ["Powierzchnia", "pokoje", "piętro", "rok budowy"],
        sentences: [
            "Blisko sklepów, szkół i komunikacji miejskiej.",
            "Dostępne od zaraz, oglądanie po umówieniu.",
            "Zadbany budynek, niski czynsz administracyjny.",
            "Jasne pokoje i praktyczny rozkład.",
            "Rzadka okazja w tej okolicy.",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_word_and_unknown_ones_fall_back_to_english() {
        for code in ["en", "it", "es", "de", "fr", "pt", "nl", "pl"] {
            let language = language(code);
            assert_eq!(language.code, code);
            assert!((0..11).all(|word| !language.property(word).is_empty()));
        }
        assert_eq!(language("xx").code, "en");
    }

    #[test]
    fn titles_name_the_property_a_feature_and_the_place() {
        assert_eq!(
            language("it").title(5, &["balcony", "heating"], 0, "Brera"),
            "Loft con balcone in zona Brera"
        );
        assert_eq!(language("en").title(9, &[], 1, "Wola"), "Office near public transport in Wola");
        assert!(
            language("de")
                .description([Some(70), Some(3), None, None], 1)
                .starts_with("Fläche 70 m², Zimmer 3. ")
        );
    }
}
