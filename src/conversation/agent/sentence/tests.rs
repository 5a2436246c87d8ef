#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::characters::extends;
use super::*;

/// Whether a voice has anything to say: what else is cut off is not requested.
fn is_spoken(sentence: &str) -> bool {
    sentence.chars().any(char::is_alphanumeric)
}

fn split_pieces<'a>(rules: SentenceRules, pieces: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut splitter = SentenceSplitter::new(rules);
    let mut sentences = Vec::new();
    for piece in pieces {
        splitter.push(piece, |sentence| sentences.push(sentence));
    }
    splitter.finish(|sentence| sentences.push(sentence));
    assert!(splitter.buffer.is_empty());
    sentences
}

/// The text in pieces of so many characters, again and again.
fn pieces(text: &str, sizes: &[usize]) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut rest = chars.as_slice();
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece.iter().collect());
        rest = tail;
    }
    pieces
}

fn split_by(rules: SentenceRules, text: &str) -> Vec<String> {
    let whole = split_pieces(rules.clone(), [text]);
    for sizes in [&[1][..], &[2], &[4], &[1, 2, 4], &[3, 5]] {
        let pieces = pieces(text, sizes);
        let got = split_pieces(rules.clone(), pieces.iter().map(String::as_str));
        assert_eq!(got, whole, "in pieces of {sizes:?}");
    }
    whole
}

/// The sentences of a text as they are spoken, the same in all pieces.
fn split(text: &str) -> Vec<String> {
    split_by(SentenceRules::default(), text).into_iter().filter(|one| is_spoken(one)).collect()
}

/// Checks rows of a text and its sentences, which `|` separates; nothing: the text is one sentence and stays as it is.
fn check(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let expected = if expected.is_empty() { text } else { expected };
        assert_eq!(split(text), expected.split('|').map(str::trim).collect::<Vec<_>>());
    }
}

#[test]
fn times_dates_and_numbers_are_not_cut() {
    check(&[
        ("Your appointment is on Tuesday at 3 p.m. Eastern Time.", ""),
        ("We open at 9 a.m. Come early.", "We open at 9 a.m. | Come early."),
        ("The call is at 3 p.m. (Pacific) on that day.", ""),
        ("La cita es a las 3 p. m. Gracias por llamar.", "La cita es a las 3 p. m. | Gracias por llamar."),
        ("Der Termin ist am 3. Juli um 14 Uhr.", ""),
        ("Wir treffen uns am 3. 7. 2026 in Berlin.", ""),
        ("Das Büro liegt im 2. Stock des Hauses.", ""),
        ("Mødet er den 4. Juli klokken ti.", ""),
        ("Ich hätte gern Zimmer 12. Danke für Ihre Hilfe.", "Ich hätte gern Zimmer 12. | Danke für Ihre Hilfe."),
        ("You said that I am 30. Please correct me.", "You said that I am 30. | Please correct me."),
        ("It happened in 2024. Nobody knew.", "It happened in 2024. | Nobody knew."),
        ("My birthday is Jan 1, 1980. Another sentence.", "My birthday is Jan 1, 1980. | Another sentence."),
        ("Choose one: 1. Sales 2. Support 3. Billing", ""),
        ("1. Open the door of the room.", ""),
        (
            "The server is at 192.168.1.1 right now. Version 1.2.3 is out today, enjoy.",
            "The server is at 192.168.1.1 right now. | Version 1.2.3 is out today, enjoy.",
        ),
        ("Die Temperatur beträgt 22,1 °C bei 45 % Luftfeuchtigkeit.", ""),
        ("The value is 3.14 and not 2.72 at all.", ""),
        ("我们的价格大约是每公斤３．５元，谢谢您的来电。", ""),
        ("我们的价格大约是每公斤3.5元，谢谢您的来电。再见。", "我们的价格大约是每公斤3.5元，谢谢您的来电。|再见。"),
    ]);
}

#[test]
fn abbreviations_are_not_cut() {
    check(&[
        ("Your address is 12 Oak Street, Apt. 5B, Springfield.", ""),
        ("Sie wohnen in der Hauptstr. 5 in Berlin, richtig?", ""),
        ("The tax is min. 5 and max. 10 percent of it.", ""),
        (
            "Dr. Smith arrived at 9:30 a.m., slightly late. St. Mary is near the U.S. capital.",
            "Dr. Smith arrived at 9:30 a.m., slightly late. | St. Mary is near the U.S. capital.",
        ),
        ("Please ask Dr. Miller or Mrs. Jones about it.", ""),
        ("It was J. R. Smith who wrote that.", ""),
        ("Take fruit, e.g. apples, or nuts etc. if you like.", ""),
        ("The U.S. Army came by.", ""),
        ("He has lived in the U.S. The weather is fine.", "He has lived in the U.S. | The weather is fine."),
        ("You reached Acme Inc. We are open.", "You reached Acme Inc. | We are open."),
        ("You reached Acme Inc. Customer Service today.", ""),
        ("My shop is at 5 Main St. Please come by.", "My shop is at 5 Main St. | Please come by."),
        ("Nobody knows that as well as I. Then he left.", "Nobody knows that as well as I. | Then he left."),
        ("See No. 5 on page 7 of the book.", ""),
        ("The answer to that is no. Try again.", "The answer to that is no. | Try again."),
        ("Come on Jan. 5 at noon.", ""),
        ("Das ist z. B. Obst oder z.B. Gemüse, ca. Viertel davon.", ""),
        ("Fragen Sie bitte Hr. Müller oder Fr. Dr. Weiß danach.", ""),
        ("Le rendez-vous est avec Mme. Dupont, av. Foch.", ""),
        ("Lo atiende la Sra. García en la Avda. La Paz.", ""),
        ("La chiama il dott. Rossi con il sig. Bianchi.", ""),
        ("Fale com o Sr. Silva ou a Dra. Costa hoje.", ""),
        ("U spreekt met dhr. Jansen of mevr. De Vries.", ""),
    ]);
}

#[test]
fn an_operator_adds_abbreviations() {
    let abbreviations = Abbreviations::parse("Bldg#, GmbH?; -gasse Tierarzt.").unwrap_err();
    assert!(abbreviations.contains("words"), "a semicolon is no part of a word");
    let abbreviations = Abbreviations::parse("Bldg#, GmbH.? -gasse, Tierarzt.").unwrap();
    let rules = SentenceRules { abbreviations, ..SentenceRules::default() };
    let added = |text: &str| split_by(rules.clone(), text).len();
    for (text, sentences) in [
        ("You find it in Bldg. 5 on the left.", 1),
        ("You find it in that Bldg. Ask for me.", 2),
        ("Hier ist die Muster GmbH. Guten Tag, Sie wünschen?", 2),
        ("Hier ist die Muster GmbH. Kundendienst und Verkauf.", 1),
        ("Wir sind in der Bäckergasse. Neun im Hof.", 1),
        ("Wir sind in der Gasse. Neun im Hof.", 2),
        ("Es ruft Sie an Tierarzt. Huber an.", 1),
    ] {
        assert_eq!(added(text), sentences, "{text}");
    }
    for bad in ["a/b", "-", "#", &"x".repeat(33), &"a ".repeat(257)] {
        assert!(Abbreviations::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn sentences_are_cut_at_their_ends() {
    check(&[
        (
            "Good morning, caller! How can I help you today? I am listening. ",
            "Good morning, caller! | How can I help you today? | I am listening.",
        ),
        ("He said \"come here.\" Then he left.", "He said \"come here.\" | Then he left."),
        ("Er sagte: „Kommen Sie her.“ Dann ging er.", "Er sagte: „Kommen Sie her.“ | Dann ging er."),
        ("First line of it\nsecond line of it", "First line of it | second line of it"),
        ("Is that so?! Indeed it is.", "Is that so?! | Indeed it is."),
        (
            "Oh, ces gens n'ont vraiment aucun respect... Vous aviez passé du temps à les choisir ?",
            "Oh, ces gens n'ont vraiment aucun respect... | Vous aviez passé du temps à les choisir ?",
        ),
        ("The sky is... blue today.", ""),
        ("Well… perhaps not today.", ""),
        ("I am not sure... Let me look.", "I am not sure... | Let me look."),
        ("(Explore these until you say done.) Then call us.", "(Explore these until you say done.) | Then call us."),
        ("<speed ratio=\"1.05\"/>Hello, thanks for waiting.", ""),
        (
            "<s>This is the first one.</s> <s>This is the second.</s>",
            "<s>This is the first one.</s> | <s>This is the second.</s>",
        ),
        (
            "Please wait here.<break time=\"1.5s\"/>Thank you for that.",
            "Please wait here. | <break time=\"1.5s\"/>Thank you for that.",
        ),
    ]);
}

#[test]
fn a_sentence_may_follow_without_a_space() {
    check(&[
        ("Let me check that.Your order is ready.", "Let me check that. | Your order is ready."),
        ("Let me check that!I found your order.", "Let me check that! | I found your order."),
        ("Gracias por esperar.¿Algo más?", ""),
        ("Einen Moment bitte.Über uns erfahren Sie mehr.", "Einen Moment bitte. | Über uns erfahren Sie mehr."),
        ("See config.toml and Node.js at example.com/A.B now.", ""),
        ("Go to example.Com or write to a.b@c.Org now.", ""),
        ("Go to example.com/list?Order=5 for the list.", ""),
        ("The class is called U.S.Army or e.g.Navy here.", ""),
    ]);
}

#[test]
fn scripts_have_stops_of_their_own() {
    check(&[
        (
            "今天的天气非常好我们出去走走吧。你觉得怎么样呢我的好朋友？好的",
            "今天的天气非常好我们出去走走吧。|你觉得怎么样呢我的好朋友？|好的",
        ),
        (
            "「今日はとても良い天気ですね。」そうですね、本当に。",
            "「今日はとても良い天気ですね。」|そうですね、本当に。",
        ),
        ("今天的天气非常好我们走吧。“你好吗我的朋友。”他说。", "今天的天气非常好我们走吧。|“你好吗我的朋友。”|他说。"),
        ("नमस्ते, आपका स्वागत है। मैं आपकी कैसे मदद कर सकता हूँ?", "नमस्ते, आपका स्वागत है।|मैं आपकी कैसे मदद कर सकता हूँ?"),
        ("እንዴት ነዎት ዛሬ ጥሩ ነው። ምን ልርዳዎት እችላለሁ፧ እባክዎ ይንገሩኝ።", "እንዴት ነዎት ዛሬ ጥሩ ነው።|ምን ልርዳዎት እችላለሁ፧|እባክዎ ይንገሩኝ።"),
        ("كيف يمكنني مساعدتك اليوم؟ أنا أستمع إليك.", "كيف يمكنني مساعدتك اليوم؟|أنا أستمع إليك."),
        ("မင်္ဂလာပါ ကူညီပေးပါရစေ။ ကျေးဇူးတင်ပါတယ်။", "မင်္ဂလာပါ ကူညီပေးပါရစေ။|ကျေးဇူးတင်ပါတယ်။"),
        ("Բարև ձեզ, ինչո՞վ օգնեմ։ Խնդրում եմ ասեք։", "Բարև ձեզ, ինչո՞վ օգնեմ։|Խնդրում եմ ասեք։"),
        ("감사합니다 고객님.무엇을 도와드릴까요?", "감사합니다 고객님.|무엇을 도와드릴까요?"),
    ]);
}

#[test]
fn short_ones_are_joined() {
    check(&[
        ("Yes. No. I see. That is fine.", "Yes. No. I see. | That is fine."),
        ("Hi.", ""),
        ("Your number, e.g.\n—\n9 8 7 …", "Your number, e.g. | —\n9 8 7 …"),
    ]);
    assert_eq!(split("  \n "), Vec::<String>::new());
}

#[test]
fn a_long_text_is_cut_behind_its_last_comma() {
    let clause = "this clause has numbers like 22,1 in it, ";
    let text = clause.repeat(8);
    let sentences = split(text.trim_end());
    assert_eq!(sentences[0], clause.repeat(6).trim_end());
    assert_eq!(sentences.concat().replace(' ', ""), text.replace(' ', ""));
    let digits = split(&format!("{} 22,1 °C and more of it to come", "x".repeat(246)));
    assert_eq!(digits[0], "x".repeat(246), "a number stays whole");
}

#[test]
fn a_long_text_is_cut_between_words_with_no_lone_word_left() {
    let phrase = "This sentence has many words without any comma and goes on and on ";
    let text = format!("{}today.", phrase.repeat(4));
    assert_eq!(split(&text)[0].len(), 248);
    for words in 0..12 {
        for end in ["today.", "today. And so on, as I said."] {
            let text = format!("{}{}{end}", phrase.repeat(3), "word ".repeat(6 + words));
            let sentences = split(&text);
            assert!(sentences.iter().all(|one| (20..=250).contains(&one.len())), "{sentences:?}");
        }
    }
}

#[test]
fn a_text_without_spaces_is_cut_between_clusters() {
    let sentences = split(&"a".repeat(1_000));
    assert_eq!((sentences.len(), sentences.concat()), (4, "a".repeat(1_000)));
    let thai = "สวัสดีครับยินดีต้อนรับสู่บริการของเราวันนี้".repeat(9);
    let rules = SentenceRules { clean: false, ..SentenceRules::default() };
    for skipped in 0..12 {
        let text: String = thai.chars().skip(skipped).collect();
        let sentences = split(&text);
        assert_eq!(sentences.concat(), text);
        assert!(!sentences[1..].iter().any(|one| one.starts_with(extends)), "{sentences:?}");
    }
    let family = "👨‍👩‍👧‍👦 family of four comes to see you today";
    let sentences = split_by(rules, &format!("{}{family}", "x".repeat(248)));
    assert_eq!(sentences, ["x".repeat(248), family.to_owned()]);
}

#[test]
fn a_sentence_is_complete_as_soon_as_the_next_one_begins() {
    for (waits, ends) in [
        ("This is a sentence.", " T"),
        ("This is a sentence", ".\n"),
        ("We open at 9 a.m. C", "o"),
        ("You owe us 12. ", "T"),
        ("It is in room 12. Ju", "s"),
        ("You reached Acme Inc. We", " a"),
        ("Let me check that.Y", "ou"),
        ("今天的天气非常好我们出去走走吧。", "你"),
        ("आपका स्वागत है दोस्त।", " म"),
        ("**This is bold.** ", "T"),
    ] {
        let mut splitter = SentenceSplitter::default();
        let mut told = 0;
        splitter.push(waits, |_| told += 1);
        assert_eq!(told, 0, "{waits}");
        splitter.push(ends, |_| told += 1);
        assert_eq!(told, 1, "{waits}{ends}");
    }
}

#[test]
fn markdown_is_not_spoken() {
    check(&[
        ("**Note:** The *office* opens at 9 a.m. daily.", "Note: The office opens at 9 a.m. daily."),
        ("See [our site](https://x.io/a_b) for more.", "See our site for more."),
        ("See [**our** site][1] or <https://x.io/a_b> for more.", "See our site or https://x.io/a_b for more."),
        ("![A map](map.png) shows the way.[^1]", "A map shows the way."),
        ("## Opening hours\nWe open at 9 a.m. daily.", "Opening hours | We open at 9 a.m. daily."),
        ("# Opening hours", "Opening hours"),
        (
            "- Sales and orders\n- Support for you\n* Billing and more\n+ [ ] Other things",
            "Sales and orders | Support for you | Billing and more | Other things",
        ),
        ("- Sales\n- Support\n- Billing", "Sales\nSupport | Billing"),
        ("> Quoted text is here.\n> And more of it.", "Quoted text is here. | And more of it."),
        ("Run `sudo *reboot*` and __wait__ for _it_ ~~now~~ then.", "Run sudo *reboot* and wait for it now then."),
        ("```sh\necho the_value of_it\n```\nThat was the code.", "echo the_value of_it | That was the code."),
        ("Before the rule\n---\nAfter the rule\n***", "Before the rule | After the rule"),
        ("| Day | Hours |\n|-----|:---:|\n| Monday | 9 to 5 |", "Day, Hours | Monday, 9 to 5"),
        ("***Important: read this.*** Then go on, please.", "Important: read this. | Then go on, please."),
        ("**First bold sentence. Second bold sentence.**", "First bold sentence. | Second bold sentence."),
        ("这是**非常**重要的*事情*，请您注意。", "这是非常重要的事情，请您注意。"),
        ("Say \\*hello\\* to them, will you?", "Say *hello* to them, will you?"),
    ]);
}

#[test]
fn emoji_are_not_spoken() {
    check(&[
        ("Have a nice day! 😊", "Have a nice day!"),
        ("👍 Thumbs up 👍🏽, my friend 👨‍👩‍👧‍👦!", "Thumbs up, my friend!"),
        ("We ship to 🇩🇪 and ❤️ you ✅ ★★★☆☆ a lot.", "We ship to and you a lot."),
        ("Press 1️⃣ or #️⃣ or *️⃣ now, please.", "Press 1 or # or * now, please."),
        ("It is 20 °C → ©2026 Acme™ №5 at 5 % off.", ""),
        ("Done with that.😊Your order is ready.", "Done with that. | Your order is ready."),
    ]);
}

#[test]
fn what_is_no_markup_stays() {
    check(&[
        ("Press # to finish or * to go back.", ""),
        ("Dial *21# or *67, then press *, # or *.", ""),
        ("# to finish, or *", ""),
        ("You can press (*) or \"*\" or '#' to go on.", ""),
        ("5 * 3 is 15, 5*3 too, and 2**3 is 8.", ""),
        ("The file my_long_name.txt is at https://x.io/a_b_c* now.", ""),
        ("The blank ____ and the **** are here [see below] (really).", ""),
        ("If a < b and c > d then a <3 b.", ""),
        ("-5 degrees, ~5 of them, it`s 5/6 \\o/ or #5.", ""),
        ("He owes us $5 & 10 % of 3 + 4 = 7 or 8.", ""),
    ]);
    let rules = SentenceRules { clean: false, ..SentenceRules::default() };
    assert_eq!(split_by(rules, "**Note:** it is `so` 😊 now."), ["**Note:** it is `so` 😊 now."]);
}

/// Texts with everything that is hard about them.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z]{1,12}",
        2 => Just(" ".to_owned()),
        2 => prop::sample::select(vec![
            ".", ". ", "... ", "… ", "! ", "?", "?! ", ".\" ", "。", "！", "」", "\n", "\n\n", ", ", "、", "3.14", "1. ",
            "Dr. ", "e.g. ", "U.S. ", " é", "日本語", "\u{1F600}", "\u{a0}", "\r\n", "))))", "''''''' ", "........ ", "a.m. ",
            "3. Juli ", "Inc. ", "Eastern ", "<b x=\". A\">", "</b>", "<", "３．５", "👨‍👩‍👧‍👦", "\u{301}", "\u{FE0F}", "१।",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "*", "**", "_", "`", "```", "# ", "- ", "[", "](", ")", "](https://x.io/a_b)", "![", "|", "\n| ", "~~", "\\", "> ",
            "---", "* ", "[^1]", "1️⃣", "🇩🇪", "][",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn rules(clean: bool, max: usize) -> SentenceRules {
    SentenceRules { bounds: SentenceBounds { min: 10, max }, clean, ..SentenceRules::default() }
}

proptest! {
    #[test]
    fn nothing_but_white_space_is_lost_and_the_bounds_hold(text in texts(), cleaned: bool, max in 16usize..60) {
        let sentences = split_pieces(rules(cleaned, max), [text.as_str()]);
        let kept = if cleaned { clean(&text) } else { text };
        prop_assert_eq!(words(&sentences.concat()), words(&kept));
        for sentence in &sentences {
            prop_assert!(!sentence.is_empty() && sentence.trim() == sentence);
            prop_assert!(sentence.chars().count() <= max, "{:?}", sentence);
        }
    }

    #[test]
    fn how_the_text_is_cut_into_pieces_has_no_influence(
        text in texts(),
        cleaned: bool,
        cuts in proptest::collection::vec(1usize..9, 1..40),
    ) {
        let whole = split_pieces(rules(cleaned, 40), [text.as_str()]);
        let pieces = pieces(&text, &cuts);
        prop_assert_eq!(split_pieces(rules(cleaned, 40), pieces.iter().map(String::as_str)), whole);
    }

    #[test]
    fn cleaning_keeps_letters_and_digits_of_plain_text(text in "[a-zA-Z0-9äöü .,!?*#_~|\n-]{0,200}") {
        let spoken = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        prop_assert_eq!(spoken(&clean(&text)), spoken(&text));
        prop_assert_eq!(words(&clean(&clean(&text))).len() <= words(&text).len(), true);
    }

    #[test]
    fn no_sentence_begins_within_a_cluster(text in "a[a-z\u{301}\u{FE0F}\u{200D}👨👩ัี ]{100,400}") {
        let sentences = split_pieces(rules(false, 60), [text.as_str()]);
        // A cluster longer than a sentence has to be cut.
        let longest = unicode_segmentation::UnicodeSegmentation::graphemes(text.as_str(), true).map(|c| c.chars().count()).max();
        prop_assume!(longest.is_none_or(|longest| longest < 20));
        for sentence in &sentences {
            prop_assert!(!sentence.starts_with(extends), "{:?}", sentence);
        }
    }
}
