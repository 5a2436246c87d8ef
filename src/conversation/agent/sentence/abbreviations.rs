//! Words before a full stop that does not end a sentence, and the words behind it that decide, by language.
//!
//! A model changes its language within a call, so all languages apply at once; a word that is an ordinary one elsewhere
//! stands only where that does no harm. All in lower case, without the last full stop. Pure; the merged lists are built
//! once and shared.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::characters::is_cased;

/// When a full stop behind an abbreviation ends a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// Never: titles, and words in the middle of a sentence.
    Never,
    /// Unless a number follows.
    BeforeNumber,
    /// Where a word follows that begins sentences.
    MayEnd,
    /// A time of day: unless a zone or a date follows.
    Time,
}

/// What is known of a condition while the text still comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    Yes,
    No,
    NotYet,
}

impl Known {
    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::NotYet => Self::NotYet,
        }
    }
}

/// The words of one language, separated by spaces. With a hyphen in front: whatever ends with it.
struct Language {
    never: &'static str,
    before_number: &'static str,
    may_end: &'static str,
    /// Words that often begin a sentence and hardly ever a name.
    starters: &'static str,
}

/// English, German, French, Spanish, Italian, Portuguese, Dutch, Scandinavian, Slavic.
const LANGUAGES: &[Language] = &[
    Language {
        never: "mr mrs ms mx messrs dr prof rev hon gen col lt sgt cpl capt cmdr maj adm gov sen rep pres supt eg ie e.g \
                i.e vs cf viz approx",
        before_number: "no nos p pp ch sec vol figs fig art para apt rm ext tel min max jan feb mar apr jun jul aug sep sept oct nov \
                        dec mon tue tues thu thur thurs fri",
        may_end: "inc ltd co corp bros jr st ste ave blvd rd hwy mt ft dept univ assn est lb lbs oz hr hrs ph.d",
        starters: "the this that these those it he she we you they i there then what when where why how who which please do \
                   does did is are was were can could would will should may if in on at for and but so or our my your his \
                   her their its let thank thanks yes no all after before also however now to with as from next once",
    },
    Language {
        never: "hr fr dipl ing mag bzw ca ggf inkl exkl zzgl evtl geb gest sog vgl bspw insb allg ehem z.b d.h u.a i.d.r \
                z.hd",
        before_number: "nr abs kap bd aufl std abb tab ziff whg zi okt dez mrz",
        may_end: "str -str usf gegr",
        starters: "der die das den dem ein eine einen ich wir sie er es du ihr bitte danke wie was wann wo warum wer welche \
                   kann können möchten haben ist sind wenn dann danach und aber oder da hier dort heute morgen ja nein \
                   gerne vielen auf in im bei für mit nach zu unsere unser ihre mein kein auch jetzt falls guten soll",
    },
    Language {
        never: "mme mmes mlle mlles mgr av bd p.ex",
        before_number: "janv févr avr juil déc env réf",
        may_end: "",
        starters: "les des une il elle nous vous je tu ils elles ce cette ces oui non merci pour dans mais si quand comment \
                   que qui où notre votre voici voulez pouvez",
    },
    Language {
        never: "sr sra srta sres sras dra profa lic arq avda pza c.p",
        before_number: "núm pág págs aprox ene abr ago dic",
        may_end: "ud uds",
        starters: "una yo usted ustedes nosotros está sí gracias para con pero qué cuando cuándo cómo dónde su nuestro \
                   puede quiere",
    },
    Language {
        never: "sig sigg dott avv geom egr spett gent",
        before_number: "pag",
        may_end: "",
        starters: "lei sono ha può grazie per quando come dove vuole questo questa",
    },
    Language {
        never: "exmo exma eng",
        before_number: "fev mai set out",
        may_end: "ltda",
        starters: "um uma eu você obrigado obrigada não sim mas onde pode este esta",
    },
    Language {
        never: "dhr mevr mw drs bijv resp d.w.z o.a",
        before_number: "blz",
        may_end: "",
        starters: "het een ik wij jij hij zij dit dat zijn kan wilt als maar nee bedankt dank voor",
    },
    Language {
        never: "dvs bl.a t.ex f.eks fru",
        before_number: "kl",
        may_end: "m.fl m.m",
        starters: "jag du vi det den jeg är och og tack takk tak",
    },
    Language {
        never: "inż např mgr им ул тел т.е т.к",
        before_number: "стр тел č",
        may_end: "др",
        starters: "to je czy proszę tak dziękuję prosím děkuji это вы мы он она они я да нет спасибо если что как",
    },
];

/// What may follow a time of day in the same sentence.
pub(super) static NOT_AFTER_A_TIME: LazyLock<Words> = LazyLock::new(|| {
    Words::new([
        "eastern central mountain pacific atlantic alaska hawaii standard daylight local est edt cst cdt mst mdt pst pdt et \
         ct mt pt gmt utc bst cet cest ist aest aedt jst sharp",
        "monday tuesday wednesday thursday friday saturday sunday today tomorrow",
        "january february march april june july august september october november december",
    ])
});

/// Months that are written with a capital letter behind the day as an ordinal.
pub(super) static MONTHS: LazyLock<Words> = LazyLock::new(|| {
    Words::new([
        "januar jänner februar feber märz april mai juni juli august september oktober november dezember jan feb mrz apr jun \
         jul aug sep sept okt nov dez",
    ])
});

/// Words before an ordinal number: `am 3. Tag`, `im 2. Stock`, `den 4. juli`.
pub(super) static ORDINAL_INTRODUCERS: LazyLock<Words> = LazyLock::new(|| {
    Words::new(["am der die das dem den des im vom zum zur ab bis seit jeder jede jedes jeden den d"])
});

/// Words that begin sentences.
pub(super) static STARTERS: LazyLock<Words> = LazyLock::new(|| Words::new(LANGUAGES.iter().map(|one| one.starters)));

/// Ends of host names, for `Example.Com`.
pub(super) static TOP_LEVELS: LazyLock<Words> = LazyLock::new(|| {
    Words::new([
        "com org net edu gov info biz io ai app dev eu uk us de at ch fr es it nl be pt pl se js ts py rs md pdf txt",
    ])
});

static TABLE: LazyLock<HashMap<&'static str, Kind>> = LazyLock::new(|| {
    let mut table = HashMap::new();
    for one in LANGUAGES {
        let kinds = [(one.may_end, Kind::MayEnd), (one.before_number, Kind::BeforeNumber), (one.never, Kind::Never)];
        for (words, kind) in kinds {
            table.extend(words.split_whitespace().map(|word| (word, kind)));
        }
    }
    table.extend([("a.m", Kind::Time), ("p.m", Kind::Time)]);
    table
});

/// Those of the table that stand for any word with this ending.
static ENDINGS: LazyLock<Vec<(&'static str, Kind)>> = LazyLock::new(|| {
    let mut endings: Vec<_> =
        TABLE.iter().filter(|(word, _)| word.starts_with('-')).map(|(word, kind)| (*word, *kind)).collect();
    endings.sort_unstable_by_key(|(word, _)| *word);
    endings
});

/// Words in order, for look-ups while a word still comes.
pub(super) struct Words(Vec<&'static str>);

impl Words {
    fn new(lists: impl IntoIterator<Item = &'static str>) -> Self {
        let mut words: Vec<_> = lists.into_iter().flat_map(str::split_whitespace).collect();
        words.sort_unstable();
        words.dedup();
        Self(words)
    }

    pub(super) fn contains(&self, word: &str) -> bool {
        self.0.binary_search(&word).is_ok()
    }

    /// Whether a word is one of these: decided as soon as none of them begins like it.
    pub(super) fn knows(&self, word: &str, whole: bool) -> Known {
        let at = self.0.partition_point(|known| *known < word);
        match self.0.get(at) {
            Some(known) if whole && *known == word => Known::Yes,
            Some(known) if !whole && known.starts_with(word) => Known::NotYet,
            _ => Known::No,
        }
    }
}

/// The table, and what the operator adds to it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Abbreviations(Arc<[(String, Kind)]>);

impl Abbreviations {
    /// Most words that can be added.
    pub const MOST: usize = 256;

    /// Reads a list like `Hauptm., Bldg#, GmbH?, -straat`, separated by commas or spaces: `#` behind a word says that its
    /// full stop ends a sentence unless a number follows, `?` that it does where a word follows that begins sentences, and
    /// nothing that it never does. A hyphen in front stands for any beginning. The full stop itself may be left out.
    ///
    /// # Errors
    /// What is wrong with the list, for its author.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut words = Vec::new();
        for entry in list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty()) {
            let (word, kind) = match entry.strip_suffix(['#', '?']) {
                Some(word) if entry.ends_with('#') => (word, Kind::BeforeNumber),
                Some(word) => (word, Kind::MayEnd),
                None => (entry, Kind::Never),
            };
            let word = word.strip_suffix('.').unwrap_or(word).to_lowercase();
            let letters = word.strip_prefix('-').unwrap_or(&word);
            let good = letters.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '\''));
            if letters.is_empty() || !good || letters.chars().count() > 32 {
                return Err("give words of at most 32 letters, separated by commas".into());
            }
            words.push((word, kind));
        }
        if words.len() > Self::MOST {
            return Err(format!("give at most {} words", Self::MOST));
        }
        Ok(Self(words.into()))
    }

    /// What a word in lower case is, without its last full stop. The operator's word counts more.
    pub(super) fn kind(&self, word: &str) -> Option<Kind> {
        let added = self.0.iter().rev().find(|(known, _)| matches(known, word)).map(|(_, kind)| *kind);
        let suffix = || ENDINGS.iter().find(|(known, _)| matches(known, word)).map(|(_, kind)| *kind);
        added.or_else(|| TABLE.get(word).copied()).or_else(suffix)
    }
}

/// Whether a word of the table is this one.
fn matches(known: &str, word: &str) -> bool {
    match known.strip_prefix('-') {
        Some(end) => word.strip_suffix(end).is_some_and(|rest| rest.ends_with(is_cased)),
        None => known == word,
    }
}
