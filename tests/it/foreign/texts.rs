//! The texts, and what of them must never be shown.

/// What a forged line would look like.
pub(crate) const FORGED: &str = "forged-by-a-text";

/// All of them.
pub(crate) fn all() -> Vec<String> {
    let forged = format!("1999-01-01T00:00:00.000000Z  INFO compliance_partner_operator: {FORGED}");
    let mut texts = vec![
        "\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}\u{8}".to_owned(),
        "c1 \u{9b}31mred\u{90}q\u{9c} del\u{7f}".to_owned(),
        "user\u{202e}nimda\u{202c} \u{2066}x\u{2069}\u{200f}\u{61c}".to_owned(),
        format!("end\n{forged}"),
        format!("end\r\n{{\"level\":\"INFO\",\"{FORGED}\":true}}\n"),
        format!("end\u{2028}{forged}\u{2029}{forged}\u{85}{forged}\u{b}\u{c}"),
        "nul\0nul bom\u{feff} none\u{fffe}\u{ffff}".to_owned(),
        "tags\u{e0041}\u{e007f} private\u{e000}\u{f0000}\u{10fffd} zero\u{200b}\u{2060}width".to_owned(),
        "${jndi:ldap://x.example/a} {{ .Values.secret }} %s%n%x $(reboot) `reboot` <script>".to_owned(),
        format!("\"}}],\"{FORGED}\":[{{\"a\":\"\\\" '"),
        format!("---\n{FORGED}: true\n...\n# & * ! | > % @ `"),
        "📱".repeat(47 * 1_024 / 4),
        format!("{}📱ä📱", "x".repeat(63)),
        format!("{}📱ä📱", "y".repeat(254)),
        format!("a{}", "\u{202e}b".repeat(12_000)),
    ];
    // Whatever is cut in the middle of a character is cut at another place, too.
    texts.push(texts.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
    texts
}

/// The first character of a text that must not be shown. This list is the tests' own.
pub(crate) fn unfit(text: &str) -> Option<char> {
    text.chars().find(|character| {
        character.is_control()
            || matches!(character,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
                | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
    })
}

#[test]
fn the_texts_hold_what_must_not_be_shown() {
    let texts = all();
    assert!(texts.iter().filter(|text| unfit(text).is_some()).count() >= 10);
    assert!(texts.iter().any(|text| text.len() >= 47 * 1_024));
    assert_eq!(unfit("Gerätekonformität 📱 \u{fffd} デバイス"), None);
}
