//! The sheet that users are given: how to trust the CA, and how to set up Thunderbird, Outlook and Apple Mail; in English and
//! Japanese. Pure.
//!
//! It is one HTML file without anything from elsewhere, and well-formed XML. The words of menus are those that the programs
//! have in that language.

use std::fmt::Write as _;

use super::{Login, Mail, Security, Service, xml};

/// A language of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Japanese.
    Japanese,
}

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::English, Self::Japanese];

    /// Its code (ISO 639-1).
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }

    /// Returns the phrase of this language.
    fn of(self, english: &'static str, japanese: &'static str) -> &'static str {
        match self {
            Self::English => english,
            Self::Japanese => japanese,
        }
    }
}

/// What stands in the sheet.
#[derive(Clone, Copy, Debug)]
pub struct Sheet<'a> {
    /// The CA's name.
    pub name: &'a str,
    /// What its files are called.
    pub stem: &'a str,
    /// The SHA-256 of the root, as people compare it.
    pub sha256: &'a str,
    /// The server.
    pub mail: &'a Mail,
}

/// Returns the sheet.
pub fn html(sheet: &Sheet<'_>, language: Language) -> String {
    let mail = sheet.mail;
    let domains: Vec<&str> = mail
        .domains
        .iter()
        .map(crate::model::name::DomainName::as_str)
        .collect();
    let domains = domains.join(", ");
    let title = match language {
        Language::English => format!("Mail settings for {domains}"),
        Language::Japanese => format!("{domains} のメール設定"),
    };
    let title = xml(&title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"{0}\" xml:lang=\"{0}\">\n<head>\n\
         <meta charset=\"utf-8\"/>\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        language.code()
    );
    settings(&mut text, sheet, language);
    trust(&mut text, sheet, language);
    thunderbird(&mut text, sheet, language);
    outlook(&mut text, sheet, language);
    apple(&mut text, sheet, language);
    text.push_str("</body>\n</html>\n");
    text
}

const STYLE: &str = "body{font-family:sans-serif;max-width:46em;margin:2em auto;padding:0 1em;line-height:1.6}\
    table{border-collapse:collapse}td,th{border:1px solid #999;padding:.3em .8em;text-align:left}\
    code{word-break:break-all}";

fn heading(text: &mut String, words: &str) {
    let _ = writeln!(text, "<h2>{}</h2>", xml(words));
}

fn paragraph(text: &mut String, words: &str) {
    let _ = writeln!(text, "<p>{}</p>", xml(words));
}

fn steps(text: &mut String, steps: &[&str]) {
    text.push_str("<ol>\n");
    for step in steps {
        let _ = writeln!(text, "<li>{}</li>", xml(step));
    }
    text.push_str("</ol>\n");
}

/// Returns the word of mail programs for how TLS begins: the same in both languages.
fn security(service: Service) -> &'static str {
    match service.security {
        Security::Implicit => "SSL/TLS",
        Security::StartTls => "STARTTLS",
    }
}

fn user(sheet: &Sheet<'_>, language: Language) -> String {
    let domain = sheet.mail.domains.first().unwrap_or(&sheet.mail.host);
    match (sheet.mail.login, language) {
        (Login::Address, Language::English) => format!("your whole address, such as taro@{domain}"),
        (Login::Address, Language::Japanese) => format!("メールアドレス全体（例: taro@{domain}）"),
        (Login::LocalPart, Language::English) => format!("what stands before the @: taro of taro@{domain}"),
        (Login::LocalPart, Language::Japanese) => format!("@ より前の部分（taro@{domain} なら taro）"),
    }
}

fn settings(text: &mut String, sheet: &Sheet<'_>, language: Language) {
    let mail = sheet.mail;
    heading(text, language.of("Servers", "サーバー"));
    let row = |text: &mut String, cells: [&str; 4]| {
        text.push_str("<tr>");
        for cell in cells {
            let _ = write!(text, "<td>{}</td>", xml(cell));
        }
        text.push_str("</tr>\n");
    };
    text.push_str("<table>\n");
    row(
        text,
        [
            "",
            language.of("Server", "サーバー"),
            language.of("Port", "ポート"),
            language.of("Connection security", "接続の保護"),
        ],
    );
    let host = mail.host.as_str();
    let imap = mail.imap.port.to_string();
    let receiving = language.of("Receiving (IMAP)", "受信 (IMAP)");
    row(text, [receiving, host, &imap, security(mail.imap)]);
    for (index, service) in mail.submission.iter().enumerate() {
        let what = match index {
            0 => language.of("Sending (SMTP)", "送信 (SMTP)"),
            _ => language.of("Sending, for old programs", "送信（古いソフト用）"),
        };
        row(text, [what, host, &service.port.to_string(), security(*service)]);
    }
    text.push_str("</table>\n");
    let words = match language {
        Language::English => format!(
            "User name for both: {}. Authentication: normal password. Never use port 25: it is for servers.",
            user(sheet, language)
        ),
        Language::Japanese => format!(
            "ユーザー名は受信・送信とも: {}。認証方式は「通常のパスワード認証」です。ポート 25 はサーバー同士の通信用なので使わないでください。",
            user(sheet, language)
        ),
    };
    paragraph(text, &words);
}

fn trust(text: &mut String, sheet: &Sheet<'_>, language: Language) {
    heading(
        text,
        language.of("Trust the certificate authority first", "最初に認証局を信頼する"),
    );
    let stem = sheet.stem;
    let words = match language {
        Language::English => format!(
            "The server's certificate is issued by {}. Compare this SHA-256 fingerprint with the one that you were told by \
             telephone or on paper before you trust it:",
            sheet.name
        ),
        Language::Japanese => format!(
            "サーバー証明書は「{}」が発行しています。信頼する前に、次の SHA-256 フィンガープリントを、電話や書面など別の方法で知らされたものと\
             見比べてください。",
            sheet.name
        ),
    };
    paragraph(text, &words);
    let _ = writeln!(text, "<p><code>{}</code></p>", xml(sheet.sha256));
    let items = match language {
        Language::English => [
            format!(
                "Windows: open {stem}.cer > Install Certificate… > Local Machine > Place all certificates in the following store > \
                 Trusted Root Certification Authorities"
            ),
            format!(
                "macOS: open {stem}.cer (Keychain Access), then the certificate > Trust > When using this certificate: Always Trust"
            ),
            format!(
                "iPhone, iPad: open {stem}.mobileconfig, then Settings > Profile Downloaded > Install; then Settings > General > \
                 About > Certificate Trust Settings, and switch the certificate on"
            ),
            format!(
                "Android: copy {stem}.cer to the phone, then Settings > Security & privacy > More security settings > Encryption & \
                 credentials > Install a certificate > CA certificate"
            ),
        ],
        Language::Japanese => [
            format!(
                "Windows: {stem}.cer を開く >「証明書のインストール」>「ローカル コンピューター」>「証明書をすべて次のストアに配置する」>\
                 「信頼されたルート証明機関」"
            ),
            format!(
                "macOS: {stem}.cer を開き（キーチェーンアクセス）、証明書をダブルクリック >「信頼」>「この証明書を使用するとき」を\
                 「常に信頼」にする"
            ),
            format!(
                "iPhone・iPad: {stem}.mobileconfig を開き、「設定」>「プロファイルがダウンロード済み」>「インストール」。続けて「設定」>\
                 「一般」>「情報」>「証明書信頼設定」で証明書をオンにする"
            ),
            format!(
                "Android: {stem}.cer を端末にコピーし、「設定」>「セキュリティとプライバシー」>「その他のセキュリティ設定」>\
                 「暗号化と認証情報」>「証明書のインストール」>「CA 証明書」"
            ),
        ],
    };
    text.push_str("<ul>\n");
    for item in items {
        let _ = writeln!(text, "<li>{}</li>", xml(&item));
    }
    text.push_str("</ul>\n");
}

/// Returns the line for a side of an account.
fn side(sheet: &Sheet<'_>, service: Service, language: Language) -> String {
    let host = &sheet.mail.host;
    match language {
        Language::English => format!("{host}, port {}, {}", service.port, security(service)),
        Language::Japanese => format!("{host}、ポート {}、{}", service.port, security(service)),
    }
}

fn outgoing(sheet: &Sheet<'_>) -> Service {
    sheet
        .mail
        .submission
        .first()
        .copied()
        .unwrap_or(Service::SUBMISSIONS)
}

fn thunderbird(text: &mut String, sheet: &Sheet<'_>, language: Language) {
    heading(text, "Thunderbird");
    let (receive, send) = (
        side(sheet, sheet.mail.imap, language),
        side(sheet, outgoing(sheet), language),
    );
    let (stem, user) = (sheet.stem, user(sheet, language));
    match language {
        Language::English => steps(
            text,
            &[
                &format!(
                    "Settings > Privacy & Security > Certificates > Manage Certificates… > Authorities > Import…: choose \
                     {stem}.pem, and tick \"Trust this CA to identify websites\". Thunderbird on Linux always needs this; on Windows \
                     and macOS it also takes the CAs of the system."
                ),
                "New Account > Email: enter name, address and password, then Continue. Where nothing is found, choose Configure \
                 manually.",
                &format!("Incoming server: IMAP, {receive}, Normal password."),
                &format!("Outgoing server: {send}, Normal password."),
                &format!("User name of both: {user}."),
                "Done. A warning about the certificate means that the first step is missing: do not confirm an exception.",
            ],
        ),
        Language::Japanese => steps(
            text,
            &[
                &format!(
                    "「設定」>「プライバシーとセキュリティ」>「証明書」>「証明書を管理...」>「認証局証明書」>「インポート...」で {stem}.pem を選び、\
                     「この認証局によるウェブサイトの識別を信頼する」にチェックを入れます。Linux 版では必ず必要です。Windows 版と macOS 版は\
                     システムの認証局も使います。"
                ),
                "「新しいアカウント」>「メール」で名前、メールアドレス、パスワードを入力して「続ける」を押します。見つからないときは「手動設定」を\
                 選びます。",
                &format!("受信サーバー: IMAP、{receive}、認証方式「通常のパスワード認証」。"),
                &format!("送信サーバー: {send}、認証方式「通常のパスワード認証」。"),
                &format!("ユーザー名は両方とも: {user}。"),
                "「完了」を押します。証明書の警告が出るときは最初の手順が済んでいません。例外を承認しないでください。",
            ],
        ),
    }
}

fn outlook(text: &mut String, sheet: &Sheet<'_>, language: Language) {
    heading(text, "Outlook");
    let (receive, send) = (
        side(sheet, sheet.mail.imap, language),
        side(sheet, outgoing(sheet), language),
    );
    let user = user(sheet, language);
    match language {
        Language::English => {
            steps(
                text,
                &[
                    "Trust the CA in Windows first (above).",
                    "Classic Outlook: File > Add Account, enter the address, Advanced options > Let me set up my account manually > \
                     Connect > IMAP.",
                    &format!(
                        "Incoming mail: {receive} (encryption method {}).",
                        security(sheet.mail.imap)
                    ),
                    &format!(
                        "Outgoing mail: {send} (encryption method {}).",
                        security(outgoing(sheet))
                    ),
                    "Do not tick \"Require logon using Secure Password Authentication (SPA)\".",
                    &format!(
                        "User name: {user}; it can be changed under File > Account Settings > Server Settings."
                    ),
                ],
            );
            paragraph(
                text,
                "The new Outlook fetches mail through Microsoft's servers, which do not know this certificate authority: use the \
                 classic one.",
            );
        }
        Language::Japanese => {
            steps(
                text,
                &[
                    "先に Windows で認証局を信頼します（上記）。",
                    "Outlook (classic):「ファイル」>「アカウントの追加」でメールアドレスを入力し、「詳細オプション」>「自分で自分のアカウントを手動で\
                     設定」>「接続」>「IMAP」を選びます。",
                    &format!(
                        "受信メール: {receive}（暗号化方法 {}）。",
                        security(sheet.mail.imap)
                    ),
                    &format!("送信メール: {send}（暗号化方法 {}）。", security(outgoing(sheet))),
                    "「セキュリティで保護されたパスワード認証 (SPA) でのログオンが必要」にはチェックを入れません。",
                    &format!(
                        "ユーザー名: {user}。「ファイル」>「アカウント設定」>「サーバーの設定」で変更できます。"
                    ),
                ],
            );
            paragraph(
                text,
                "新しい Outlook は Microsoft のサーバー経由でメールを受信し、そのサーバーはこの認証局を知りません。Outlook (classic) を使ってください。",
            );
        }
    }
}

fn apple(text: &mut String, sheet: &Sheet<'_>, language: Language) {
    heading(
        text,
        language.of(
            "Apple Mail (Mac, iPhone, iPad)",
            "Apple「メール」（Mac・iPhone・iPad）",
        ),
    );
    let (receive, send) = (
        side(sheet, sheet.mail.imap, language),
        side(sheet, outgoing(sheet), language),
    );
    let (stem, user) = (sheet.stem, user(sheet, language));
    match language {
        Language::English => steps(
            text,
            &[
                &format!(
                    "{stem}-mail.mobileconfig trusts the CA and sets up the account in one: open it, install it (Mac: System Settings > \
                     General > Device Management; iPhone: Settings > Profile Downloaded), and enter address and password."
                ),
                "On iPhone and iPad, switch the certificate on as well: Settings > General > About > Certificate Trust Settings.",
                &format!(
                    "By hand: Mail > Settings > Accounts > Add Account > Other Mail Account. Incoming: IMAP, {receive}. Outgoing: \
                     {send}. User name: {user}."
                ),
            ],
        ),
        Language::Japanese => steps(
            text,
            &[
                &format!(
                    "{stem}-mail.mobileconfig を開いてインストールすると、認証局の信頼とアカウントの設定が一度に済みます（Mac:「システム設定」>\
                     「一般」>「デバイス管理」、iPhone:「設定」>「プロファイルがダウンロード済み」）。メールアドレスとパスワードを入力します。"
                ),
                "iPhone と iPad では「設定」>「一般」>「情報」>「証明書信頼設定」で証明書もオンにします。",
                &format!(
                    "手動の場合:「メール」>「設定」>「アカウント」>「アカウントを追加」>「その他のメールアカウント」。受信: IMAP、{receive}。送信: \
                     {send}。ユーザー名: {user}。"
                ),
            ],
        ),
    }
}
