//! Where the market is: cities and neighbourhoods at their true places (WGS84, centres to about a
//! hundred metres), with price levels of the right order.

use super::rng::Rng;

/// A city of the synthetic market.
#[derive(Debug)]
pub struct City {
    /// The name as its people write it.
    pub name: &'static str,
    /// ISO 3166-1 alpha-2.
    pub country: &'static str,
    /// The slug of its region.
    pub region: &'static str,
    /// Latitude of the centre, degrees.
    pub lat: f64,
    /// Longitude of the centre, degrees.
    pub lng: f64,
    /// Its share of the market, relative to the other cities.
    pub weight: u64,
    /// What a square metre of a flat sells for, in `currency`.
    pub sale_per_sq_meter: f64,
    /// What a square metre of a flat rents for in a month, in `currency`.
    pub rent_per_sq_meter: f64,
    /// ISO 4217.
    pub currency: &'static str,
    /// The language of its listings, ISO 639-1.
    pub language: &'static str,
    /// Its neighbourhoods, dearest or best known first.
    pub neighborhoods: &'static [Neighborhood],
}

impl City {
    /// The territory in text, such as `IT:lombardia`.
    #[must_use]
    pub fn territory(&self) -> String {
        format!("{}:{}", self.country, self.region)
    }
}

/// A part of a city.
#[derive(Debug)]
pub struct Neighborhood {
    /// Its name.
    pub name: &'static str,
    /// Latitude of its centre, degrees.
    pub lat: f64,
    /// Longitude of its centre, degrees.
    pub lng: f64,
    /// Its prices relative to the city's, in percent.
    pub price_percent: u32,
    /// A postal code in it.
    pub postal_code: &'static str,
}

/// The city of that name.
#[must_use]
pub fn city_by_name(name: &str) -> Option<&'static City> {
    CITIES.iter().find(|city| city.name == name)
}

/// A city, as often as its share of the market.
pub fn sample_city(rng: &mut Rng) -> &'static City {
    rng.weighted(&CITIES, |city| city.weight).unwrap_or(&CITIES[0])
}

/// The territories of all cities in text, sorted, each once.
#[must_use]
pub fn territories() -> Vec<String> {
    let mut all: Vec<String> = CITIES.iter().map(City::territory).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// How a country trades: code, currency, language.
type Market = (&'static str, &'static str, &'static str);

const IT: Market = ("IT", "EUR", "it");
const ES: Market = ("ES", "EUR", "es");
const DE: Market = ("DE", "EUR", "de");
const FR: Market = ("FR", "EUR", "fr");
const PT: Market = ("PT", "EUR", "pt");
const GB: Market = ("GB", "GBP", "en");
const NL: Market = ("NL", "EUR", "nl");
const PL: Market = ("PL", "PLN", "pl");
const AT: Market = ("AT", "EUR", "de");

const fn city(
    (country, currency, language): Market,
    region: &'static str,
    name: &'static str,
    (lat, lng): (f64, f64),
    (weight, sale, rent): (u64, f64, f64),
    neighborhoods: &'static [Neighborhood],
) -> City {
    City {
        name,
        country,
        region,
        lat,
        lng,
        weight,
        sale_per_sq_meter: sale,
        rent_per_sq_meter: rent,
        currency,
        language,
        neighborhoods,
    }
}

const fn hood(
    name: &'static str,
    lat: f64,
    lng: f64,
    price_percent: u32,
    postal_code: &'static str,
) -> Neighborhood {
    Neighborhood { name, lat, lng, price_percent, postal_code }
}

/// The market: 28 cities in 16 territories.
#[rustfmt::skip]
pub static CITIES: [City; 28] = [
    city(IT, "lombardia", "Milano", (45.4642, 9.1900), (150, 5300.0, 23.0), &[
        hood("Brera", 45.4726, 9.1860, 195, "20121"),
        hood("Porta Nuova", 45.4836, 9.1905, 170, "20124"),
        hood("Navigli", 45.4520, 9.1770, 125, "20144"),
        hood("Isola", 45.4880, 9.1890, 130, "20159"),
        hood("Porta Romana", 45.4530, 9.2030, 135, "20135"),
        hood("Città Studi", 45.4770, 9.2280, 98, "20133"),
        hood("NoLo", 45.4950, 9.2190, 82, "20127"),
        hood("Lambrate", 45.4840, 9.2420, 80, "20134"),
        hood("San Siro", 45.4750, 9.1380, 92, "20151"),
        hood("Bicocca", 45.5160, 9.2120, 74, "20126"),
    ]),
    city(IT, "lombardia", "Bergamo", (45.6983, 9.6773), (18, 2400.0, 11.5), &[
        hood("Città Alta", 45.7036, 9.6626, 165, "24129"),
        hood("Borgo Palazzo", 45.6930, 9.6850, 90, "24125"),
        hood("Colognola", 45.6790, 9.6540, 82, "24126"),
    ]),
    city(IT, "lombardia", "Brescia", (45.5416, 10.2118), (18, 2100.0, 10.5), &[
        hood("Centro Storico", 45.5390, 10.2200, 125, "25121"),
        hood("Mompiano", 45.5650, 10.2380, 110, "25133"),
        hood("Lamarmora", 45.5230, 10.2170, 84, "25124"),
    ]),
    city(IT, "lazio", "Roma", (41.9028, 12.4964), (110, 3500.0, 17.0), &[
        hood("Trastevere", 41.8880, 12.4670, 150, "00153"),
        hood("Monti", 41.8950, 12.4930, 165, "00184"),
        hood("Prati", 41.9090, 12.4640, 150, "00192"),
        hood("Parioli", 41.9260, 12.4880, 160, "00197"),
        hood("Testaccio", 41.8770, 12.4760, 120, "00153"),
        hood("San Giovanni", 41.8850, 12.5100, 105, "00183"),
        hood("Pigneto", 41.8890, 12.5290, 84, "00176"),
        hood("EUR", 41.8310, 12.4700, 98, "00144"),
        hood("Centocelle", 41.8770, 12.5660, 70, "00171"),
    ]),
    city(IT, "toscana", "Firenze", (43.7696, 11.2558), (32, 4100.0, 19.0), &[
        hood("Santa Croce", 43.7690, 11.2620, 125, "50122"),
        hood("Oltrarno", 43.7660, 11.2450, 128, "50125"),
        hood("Campo di Marte", 43.7780, 11.2830, 100, "50137"),
        hood("Novoli", 43.7930, 11.2210, 78, "50127"),
    ]),
    city(IT, "toscana", "Pisa", (43.7167, 10.4017), (10, 2300.0, 11.0), &[
        hood("Santa Maria", 43.7190, 10.3960, 122, "56126"),
        hood("San Martino", 43.7130, 10.4050, 108, "56125"),
        hood("Cisanello", 43.7060, 10.4380, 84, "56124"),
    ]),
    city(IT, "piemonte", "Torino", (45.0703, 7.6869), (45, 2000.0, 11.0), &[
        hood("Crocetta", 45.0570, 7.6680, 145, "10128"),
        hood("San Salvario", 45.0560, 7.6820, 105, "10125"),
        hood("Vanchiglia", 45.0680, 7.6990, 115, "10124"),
        hood("Santa Rita", 45.0450, 7.6480, 82, "10136"),
        hood("Barriera di Milano", 45.0930, 7.7030, 48, "10154"),
    ]),
    city(ES, "madrid-comunidad-de", "Madrid", (40.4168, -3.7038), (95, 4800.0, 20.0), &[
        hood("Salamanca", 40.4300, -3.6780, 170, "28001"),
        hood("Chamberí", 40.4340, -3.7030, 140, "28010"),
        hood("Malasaña", 40.4270, -3.7040, 125, "28004"),
        hood("Lavapiés", 40.4090, -3.7010, 102, "28012"),
        hood("Retiro", 40.4110, -3.6760, 128, "28009"),
        hood("Tetuán", 40.4600, -3.6980, 90, "28020"),
        hood("Carabanchel", 40.3830, -3.7360, 58, "28025"),
        hood("Puente de Vallecas", 40.3900, -3.6690, 55, "28018"),
    ]),
    city(ES, "madrid-comunidad-de", "Alcalá de Henares", (40.4818, -3.3643), (12, 2300.0, 11.5), &[
        hood("Centro", 40.4820, -3.3650, 108, "28801"),
        hood("El Ensanche", 40.4960, -3.3640, 104, "28805"),
        hood("Reyes Católicos", 40.4790, -3.3800, 82, "28802"),
    ]),
    city(ES, "catalunya-cataluna", "Barcelona", (41.3950, 2.1600), (85, 4600.0, 21.0), &[
        hood("Eixample", 41.3910, 2.1630, 125, "08007"),
        hood("Gràcia", 41.4030, 2.1560, 110, "08012"),
        hood("Sarrià", 41.4000, 2.1210, 135, "08017"),
        hood("El Born", 41.3850, 2.1810, 118, "08003"),
        hood("Poblenou", 41.4030, 2.1990, 108, "08005"),
        hood("Sants", 41.3760, 2.1350, 88, "08014"),
        hood("Nou Barris", 41.4400, 2.1740, 58, "08042"),
    ]),
    city(ES, "catalunya-cataluna", "Girona", (41.9794, 2.8214), (9, 2400.0, 11.0), &[
        hood("Barri Vell", 41.9860, 2.8260, 125, "17004"),
        hood("Eixample", 41.9770, 2.8170, 105, "17002"),
        hood("Sant Narcís", 41.9680, 2.8110, 80, "17005"),
    ]),
    city(ES, "valenciana-comunidad", "València", (39.4699, -0.3763), (48, 2700.0, 13.5), &[
        hood("Russafa", 39.4610, -0.3740, 128, "46006"),
        hood("El Carme", 39.4780, -0.3800, 120, "46003"),
        hood("Benimaclet", 39.4850, -0.3590, 88, "46020"),
        hood("Campanar", 39.4840, -0.3970, 98, "46015"),
        hood("Patraix", 39.4580, -0.3950, 82, "46018"),
    ]),
    city(ES, "valenciana-comunidad", "Alacant", (38.3640, -0.5000), (20, 2000.0, 11.0), &[
        hood("Mercat", 38.3520, -0.4890, 120, "03004"),
        hood("Carolines", 38.3610, -0.4880, 76, "03012"),
        hood("Sant Blai", 38.3510, -0.5060, 80, "03005"),
    ]),
    city(DE, "berlin", "Berlin", (52.5200, 13.4050), (80, 5000.0, 16.0), &[
        hood("Mitte", 52.5230, 13.4010, 140, "10119"),
        hood("Prenzlauer Berg", 52.5400, 13.4240, 125, "10435"),
        hood("Kreuzberg", 52.4980, 13.4070, 115, "10961"),
        hood("Charlottenburg", 52.5080, 13.3010, 118, "10627"),
        hood("Friedrichshain", 52.5150, 13.4540, 110, "10247"),
        hood("Neukölln", 52.4780, 13.4380, 92, "12043"),
        hood("Wedding", 52.5500, 13.3600, 82, "13347"),
        hood("Marzahn", 52.5450, 13.5640, 58, "12679"),
    ]),
    city(DE, "bayern", "München", (48.1372, 11.5755), (48, 8300.0, 22.0), &[
        hood("Schwabing", 48.1640, 11.5860, 118, "80801"),
        hood("Maxvorstadt", 48.1500, 11.5680, 122, "80333"),
        hood("Haidhausen", 48.1300, 11.6000, 112, "81667"),
        hood("Sendling", 48.1180, 11.5440, 96, "81371"),
        hood("Neuperlach", 48.0990, 11.6430, 76, "81737"),
    ]),
    city(DE, "bayern", "Nürnberg", (49.4521, 11.0767), (18, 3700.0, 12.0), &[
        hood("Sebald", 49.4560, 11.0790, 125, "90403"),
        hood("Gostenhof", 49.4490, 11.0590, 96, "90443"),
        hood("Langwasser", 49.4040, 11.1350, 80, "90471"),
    ]),
    city(FR, "ile-de-france", "Paris", (48.8566, 2.3522), (85, 9600.0, 31.0), &[
        hood("Le Marais", 48.8590, 2.3590, 132, "75004"),
        hood("Saint-Germain-des-Prés", 48.8540, 2.3330, 148, "75006"),
        hood("Montmartre", 48.8860, 2.3410, 105, "75018"),
        hood("Bastille", 48.8530, 2.3750, 108, "75011"),
        hood("Batignolles", 48.8870, 2.3180, 110, "75017"),
        hood("Passy", 48.8580, 2.2790, 125, "75016"),
        hood("Belleville", 48.8710, 2.3850, 88, "75020"),
    ]),
    city(FR, "ile-de-france", "Versailles", (48.8049, 2.1204), (12, 6900.0, 22.0), &[
        hood("Notre-Dame", 48.8070, 2.1300, 118, "78000"),
        hood("Saint-Louis", 48.7980, 2.1240, 110, "78000"),
        hood("Porchefontaine", 48.7970, 2.1480, 90, "78000"),
    ]),
    city(FR, "provence-alpes-cote-dazur", "Marseille", (43.2990, 5.3990), (30, 3500.0, 14.5), &[
        hood("Vauban", 43.2820, 5.3790, 124, "13006"),
        hood("Castellane", 43.2860, 5.3830, 106, "13006"),
        hood("La Plaine", 43.2950, 5.3870, 96, "13005"),
        hood("La Belle de Mai", 43.3130, 5.3880, 58, "13003"),
    ]),
    city(FR, "provence-alpes-cote-dazur", "Nice", (43.7170, 7.2620), (24, 5200.0, 18.5), &[
        hood("Carré d'Or", 43.6990, 7.2610, 142, "06000"),
        hood("Cimiez", 43.7190, 7.2770, 110, "06000"),
        hood("Riquier", 43.7060, 7.2870, 90, "06300"),
    ]),
    city(PT, "lisboa", "Lisboa", (38.7370, -9.1520), (52, 4700.0, 21.5), &[
        hood("Príncipe Real", 38.7170, -9.1490, 150, "1250-184"),
        hood("Graça", 38.7195, -9.1310, 118, "1170-165"),
        hood("Campo de Ourique", 38.7170, -9.1650, 118, "1350-198"),
        hood("Avenidas Novas", 38.7390, -9.1490, 112, "1050-115"),
        hood("Benfica", 38.7490, -9.1990, 78, "1500-110"),
        hood("Marvila", 38.7410, -9.1120, 84, "1950-249"),
    ]),
    city(PT, "lisboa", "Sintra", (38.8029, -9.3817), (12, 2500.0, 13.0), &[
        hood("São Martinho", 38.7980, -9.3910, 125, "2710-511"),
        hood("Queluz", 38.7580, -9.2560, 88, "2745-191"),
        hood("Rio de Mouro", 38.7690, -9.3250, 80, "2635-312"),
    ]),
    city(GB, "england", "London", (51.5074, -0.1278), (90, 8200.0, 34.0), &[
        hood("Chelsea", 51.4870, -0.1680, 190, "SW3 5EL"),
        hood("Islington", 51.5360, -0.1030, 118, "N1 2TZ"),
        hood("Hackney", 51.5450, -0.0560, 98, "E8 1DY"),
        hood("Camden Town", 51.5390, -0.1430, 122, "NW1 7JR"),
        hood("Brixton", 51.4610, -0.1140, 92, "SW9 8HE"),
        hood("Greenwich", 51.4800, -0.0080, 88, "SE10 9NF"),
        hood("Walthamstow", 51.5840, -0.0210, 70, "E17 7JN"),
    ]),
    city(GB, "england", "Manchester", (53.4808, -2.2426), (30, 3400.0, 16.0), &[
        hood("Northern Quarter", 53.4840, -2.2350, 122, "M1 1JR"),
        hood("Ancoats", 53.4850, -2.2260, 115, "M4 6BF"),
        hood("Didsbury", 53.4160, -2.2310, 110, "M20 2RW"),
        hood("Hulme", 53.4650, -2.2500, 86, "M15 5FS"),
    ]),
    city(NL, "noord-holland", "Amsterdam", (52.3676, 4.9041), (48, 7700.0, 26.0), &[
        hood("De Jordaan", 52.3740, 4.8810, 122, "1015 MS"),
        hood("De Pijp", 52.3540, 4.8930, 112, "1073 CL"),
        hood("Oud-West", 52.3660, 4.8690, 108, "1053 RT"),
        hood("Oost", 52.3600, 4.9330, 98, "1093 NE"),
        hood("Noord", 52.3940, 4.9230, 82, "1021 HP"),
        hood("Bijlmer", 52.3160, 4.9550, 62, "1102 CV"),
    ]),
    city(NL, "noord-holland", "Haarlem", (52.3874, 4.6462), (12, 5600.0, 19.0), &[
        hood("Centrum", 52.3810, 4.6370, 115, "2011 RD"),
        hood("Kleverpark", 52.3950, 4.6330, 118, "2023 AE"),
        hood("Schalkwijk", 52.3600, 4.6550, 76, "2037 AV"),
    ]),
    city(PL, "mazowieckie", "Warszawa", (52.2297, 21.0122), (52, 16800.0, 78.0), &[
        hood("Śródmieście", 52.2310, 21.0180, 135, "00-013"),
        hood("Mokotów", 52.1930, 21.0250, 112, "02-554"),
        hood("Żoliborz", 52.2690, 20.9830, 115, "01-601"),
        hood("Wola", 52.2360, 20.9600, 105, "01-184"),
        hood("Praga-Południe", 52.2430, 21.0830, 90, "04-089"),
        hood("Białołęka", 52.3200, 20.9720, 74, "03-122"),
    ]),
    city(AT, "wien", "Wien", (48.2082, 16.3738), (42, 6100.0, 18.5), &[
        hood("Innere Stadt", 48.2090, 16.3700, 195, "1010"),
        hood("Neubau", 48.2020, 16.3490, 118, "1070"),
        hood("Leopoldstadt", 48.2170, 16.3900, 105, "1020"),
        hood("Landstraße", 48.1980, 16.3950, 108, "1030"),
        hood("Favoriten", 48.1740, 16.3780, 76, "1100"),
        hood("Donaustadt", 48.2330, 16.4450, 86, "1220"),
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_market_has_at_most_16_territories_with_valid_names() {
        let all = territories();
        assert_eq!(all.len(), 16);
        for territory in &all {
            let (country, region) = territory.split_once(':').unwrap();
            assert!(country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()));
            assert!(region.split('-').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            }));
        }
    }

    #[test]
    fn neighbourhoods_lie_in_their_city() {
        for city in &CITIES {
            assert!(!city.neighborhoods.is_empty());
            for hood in city.neighborhoods {
                let north = (hood.lat - city.lat).abs() * 111.2;
                let east = (hood.lng - city.lng).abs() * 111.2 * city.lat.to_radians().cos();
                assert!(north.hypot(east) < 13.0, "{} {}", city.name, hood.name);
            }
        }
    }

    #[test]
    fn large_cities_are_drawn_more_often() {
        let mut rng = Rng::new(3);
        let draws: Vec<&str> = (0..20_000).map(|_| sample_city(&mut rng).name).collect();
        let count = |name| draws.iter().filter(|drawn| **drawn == name).count();
        assert!(count("Milano") > 6 * count("Bergamo"));
        assert!(CITIES.iter().all(|city| count(city.name) > 0));
        assert_eq!(city_by_name("Wien").map(City::territory).as_deref(), Some("AT:wien"));
        assert!(city_by_name("Atlantis").is_none());
    }
}
