/* ptb.c - see ptb.h.
 *
 * A longest-match lexer over one table of rules.  A rule is a pattern, possibly with what must follow it; the rule
 * whose match reaches farthest (what follows included) wins, the earlier of two equals.  pcre2_dfa_match() gives
 * exactly that: the longest match of a pattern at a place. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "eval/ptb.h"

#include "base/alloc.h"
#include <pcre2.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

enum {
    MAX_TEXT_BYTES = 1 << 20,
    WORKSPACE_INTS = 1 << 14, /* of pcre2_dfa_match; the largest pattern here needs some hundreds */
};

/* Building blocks.  Character classes mind the case, (?i:words) do not. */
#define ENTITY_LETTER "&[aeiouAEIOU](?:acute|grave|uml);"
#define LETTER                                                                                                         \
    "(?:" ENTITY_LETTER "|[\\p{L}\\x{AD}\\x{300}-\\x{36F}\\x{483}-\\x{487}\\x{591}-\\x{5BD}\\x{64B}-\\x{65E}"          \
    "\\x{670}]|(?=[\\x{900}-\\x{ECD}])\\p{M})"
#define WORD_REST   "(?:" LETTER "|\\p{Nd})"
#define ALNUM       "[\\p{L}\\p{Nd}]"
#define SPACE       "[ \\t\\x{A0}\\x{2000}-\\x{200A}\\x{3000}]"
#define APOS        "(?:['\\x{92}\\x{2019}]|&apos;)"
#define APOS2       "(?:['\\x{92}\\x{2019}\\x{91}\\x{2018}\\x{201B}]|&apos;)" /* as it occurs inside words */
#define WORD        "(?:" LETTER WORD_REST "*(?:[.!?]" LETTER WORD_REST "*)*)"
#define NUM         "(?:\\p{Nd}+|\\p{Nd}*(?:[.:,\\x{AD}\\x{66B}\\x{66C}]\\p{Nd}+)+)"
#define CLITIC      "(?:" APOS "(?i:[msd]|re|ve|ll))"
#define ACRONYM     "(?:[A-Za-z](?:\\.[A-Za-z])+)"
#define FRENCH      "(?:[dDoOlL]" APOS2 ALNUM ")?" /* d'Artagnan, o'clock, l'eau */
#define THING       "(?:" FRENCH ALNUM "+(?:[-_\\x{58A}\\x{2010}\\x{2011}]" FRENCH ALNUM "+)*)"
#define HTHING      "(?:[A-Za-z0-9][A-Za-z0-9.,\\x{AD}]*(?:-(?:[A-Za-z0-9\\x{AD}]+|" ACRONYM "\\.))+)"
#define IN_SENTENCE "[,;:\\x{3001}]"
#define NOT_IN_URL  "[^ \\t\\n\\f\\r\"<>|()"

/* Abbreviations that keep their full stop. */
#define ABBREVIATIONS                                                                                                  \
    "(?i:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|ala|ariz|calif|colo|conn|dak|"      \
    "fla|ga|ind|kans?|ky|md|mich|minn|mo|mont|neb|nev|okla|penn|tenn|tex|va|vt|wisc?|wyo|inc|cos?|corp|"               \
    "ltd|plc|dept|assn|univ|ph|tel|est|ext|sq|ft|jr|sr|bros|blvd|rd|esq|etc|al|seq|mr|mrs|ms|drs?|profs?|"             \
    "sens?|reps?|lt|col|gen|govs?|adm|rev|maj|sgt|cpl|pvt|mt|capt|ste?|ave|pres|lieut|hon|brig|det|vs|alex|wm|jos|"    \
    "cf|elec|natl|ed\\.d|ph\\.d)|Ark|Del|Ill|La|Mass|Miss|Ore|Pa|Wash|" ACRONYM

/* Words that are seldom capitalised but at the start of a sentence. */
#define SENTENCE_STARTS                                                                                                \
    "About|According|Additionally|After|An?|As|At|But|Earlier|He|Her|Here|However|I[fnt]|Last|Many|More|M[rs]\\.|Now|" \
    "Once|One|Other|Our|She|Since|So|Some|Such|That|The|Then|There|These|They|This|We|When|While|What|Yet|You"

typedef enum rule_kind {
    SKIP,     /* no token */
    PLAIN,    /* the token as it stands, lower case */
    DASH,     /* -- */
    ELLIPSIS, /* ... */
    QUOTE,    /* curly quotes as LaTeX ones */
    BRACKET,  /* -lrb- and the like */
    ENTITY,   /* of HTML: its second letter says which */
} rule_kind;

typedef struct rule {
    rule_kind kind;
    const char *body;
    const char *ahead; /* must follow and is not part of the token; NULL: anything may */
} rule;

static const rule rules[] = {
    {PLAIN, "(?i:can)", "(?i:not)"},
    {PLAIN, "(?i:gon|wan)", "(?i:na)"},
    {PLAIN, "(?i:got)", "(?i:ta)"},
    {PLAIN, "(?i:lem|gim)", "(?i:me)"},
    {PLAIN, "'(?i:t)", "(?i:is|was)"},
    {PLAIN, "(?i:more)", "'(?i:n)"},
    {PLAIN, "<(?:[!?][A-Za-z-][^>\\r\\n]*|/?[A-Za-z][\\w:.-]*(?: [^>\\r\\n]*)?/?)>", NULL}, /* markup */
    {DASH, "&(?i:md|mdash|ndash);|[\\x{96}\\x{97}\\x{2013}-\\x{2015}]", NULL},
    {ENTITY, "(?i:&amp;)|&lt;|&gt;", NULL},
    {PLAIN, WORD, CLITIC},
    {PLAIN, "[A-Za-z\\x{AD}]*[A-MO-Za-mo-z]\\x{AD}*", "(?i:n)" APOS2 "(?i:t)"},
    {PLAIN, WORD, NULL},
    {PLAIN,
     APOS "(?i:n)" APOS "?|[lLdDjJ]" APOS "|(?i:cap)" APOS "(?i:n)|(?i:somethin|ol|dunkin)" APOS "|" APOS
          "(?i:em|cause|till?)|" APOS "[2-9]0(?i:s)|[A-HJ-XZn]" APOS2 "\\p{L}{2,}|\\p{L}+[aeiouyAEIOUY]" APOS2
          "[aeiouA-Z]\\p{L}*|(?i:cont'd\\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)",
     NULL},
    {PLAIN, "(?i:y)" APOS, "\\p{L}"},
    {PLAIN, "(?i:https?)://" NOT_IN_URL "]+" NOT_IN_URL ".!?{},-]", NULL},
    {PLAIN,
     "(?:(?i:www)\\.(?:" NOT_IN_URL ".!?{},]+\\.)+[a-zA-Z]{2,4}|(?:" NOT_IN_URL
     "`'.!?{},\\-_$/:]+\\.)+(?i:com|net|org|edu))(?:/" NOT_IN_URL "]+" NOT_IN_URL ".!?{},-])?",
     NULL},
    {PLAIN, "[a-zA-Z0-9]" NOT_IN_URL "\\x{A0}]*@(?:" NOT_IN_URL ".\\x{A0}]+\\.)*" NOT_IN_URL ".\\x{A0}]+",
     NULL}, /* mail */
    {PLAIN, "@[a-zA-Z_][a-zA-Z_0-9]*|#" LETTER "+", NULL},
    {QUOTE, CLITIC, "[^A-Za-z]"},
    {QUOTE, "(?i:n)" APOS2 "(?i:t)", NULL},
    {PLAIN, "\\p{Nd}{1,2}[-/]\\p{Nd}{1,2}[-/]\\p{Nd}{2,4}", NULL}, /* date */
    {PLAIN, "[-+]?" NUM, NULL},
    {PLAIN, "\\p{Nd}+\\.[xX]", "[ \\n.,!?]"}, /* a version */
    {PLAIN,
     "[\\x{207A}\\x{207B}\\x{208A}\\x{208B}]?(?:[\\x{2070}\\xB9\\xB2\\xB3\\x{2074}-\\x{2079}]+|[\\x{2080}-\\x{2089}]+)",
     NULL},
    {PLAIN, "(?:\\p{Nd}{1,4}[- \\x{A0}])?\\p{Nd}{1,4}(?:\\\\?/|\\x{2044})\\p{Nd}{1,4}", NULL}, /* fraction */
    {PLAIN, "[\\xBC-\\xBE\\x{2153}-\\x{215E}]", NULL},
    {PLAIN, "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}", NULL}, /* black/white */
    {PLAIN, "[A-Z]*\\$|#", NULL},
    {PLAIN, "[\\xA2-\\xA5\\x{80}\\x{20A0}\\x{20A4}\\x{20AC}\\x{E3F}\\x{FFE0}\\x{FFE1}\\x{FFE5}\\x{FFE6}]", NULL},
    {PLAIN, "(?:" ABBREVIATIONS ")\\.", NULL},
    {PLAIN,
     "(?:" ALNUM "+\\.)+(?i:bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|"
     "ppt|ps|py|sql|tar|txt|wav|x|xml|zip)",
     "[^\\p{L}\\p{Nd}]"}, /* a file's name */
    {PLAIN, "(?i:nos?|prop|ph|arts?|figs?|pp)\\.", SPACE "?\\p{Nd}"},
    {PLAIN, "[A-Za-z]\\.", NULL}, /* an initial, unless a sentence ends there: */
    {PLAIN, "[A-Za-z]", "\\.(?:" SPACE "*\\n|" SPACE "+(?:" SENTENCE_STARTS ")" SPACE ")"},
    {PLAIN, "(?:" ABBREVIATIONS ")", SPACE},
    {PLAIN, ACRONYM, "\\n"},
    {PLAIN, APOS "[0-9][0-9]", "(?:" SPACE "|\\n)"},
    {PLAIN, WORD "\\.", IN_SENTENCE},
    {BRACKET,
     "(?:\\([0-9]{2,3}\\)[ \\x{A0}]?|(?:\\+\\+?)?(?:[0-9]{2,4}[- \\x{A0}])?[0-9]{2,4}[- \\x{A0}])[0-9]{3,4}[- \\x{A0}]?"
     "[0-9]{3,5}|(?:(?:\\+\\+?)?[0-9]{2,4}\\.)?[0-9]{2,4}\\.[0-9]{3,4}\\.[0-9]{3,5}",
     NULL}, /* phone */
    {QUOTE, "\"|&quot;", NULL},
    {BRACKET, "[][(){}]", NULL},
    {PLAIN, "[<>]|[Cc](?:\\+\\+|#)", NULL},
    {BRACKET, "[<>]?[:;=][-o*']?[()DPdpO\\\\{@|\\[\\]]", "[^\\p{L}\\p{Nd}]"}, /* smileys */
    {DASH, "---|----", NULL},
    {PLAIN, "-+", NULL},
    {ELLIPSIS, "\\.{3,5}|(?:\\.[ \\x{A0}]){2,4}\\.|[\\x{85}\\x{2026}]", NULL},
    {PLAIN, "@+|#+|_+|\\*+", NULL},
    {PLAIN, IN_SENTENCE "|[?!]+|[.=/\\xA1\\xBF\\x{37E}\\x{589}\\x{61F}\\x{6D4}\\x{3002}]", NULL},
    {PLAIN, HTHING "\\.", IN_SENTENCE},
    {PLAIN, HTHING, NULL},
    {PLAIN, THING "\\.", IN_SENTENCE},
    {PLAIN, THING, NULL},
    {PLAIN, "[A-Z]+(?:[+&][A-Z]+)+", NULL},
    {QUOTE, "'", "[A-Za-z][^ \\t\\n\\r\\x{A0}]"},
    {QUOTE, CLITIC, NULL},
    {QUOTE, APOS "|''|[`\\x{2018}-\\x{201F}\\x{91}-\\x{94}\\x{2039}\\x{203A}\\xAB\\xBB]{1,2}", NULL},
    {PLAIN, "<<|>>", NULL},
    {PLAIN,
     "[+%&~^|\\\\\\xA6-\\xA9\\xAC\\xAE-\\xBA\\xD7\\xF7\\x{2016}\\x{2017}\\x{2020}-\\x{2023}\\x{2030}-\\x{2038}\\x{203B}"
     "\\x{203E}-\\x{2042}\\x{2044}\\x{207A}-\\x{207F}\\x{208A}-\\x{208E}\\x{2100}-\\x{214F}\\x{2190}-\\x{2BFF}\\x{3012}"
     "\\x{30FB}\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF20}\\x{FF3B}-\\x{FF40}\\x{FF5B}-\\x{FF65}]",
     NULL},
    {SKIP, "(?:" SPACE "|[\\n\\x{200B}\\x{200E}\\x{200F}\\x{FEFF}])+|&nbsp;", NULL},
};

enum { N_RULES = sizeof rules / sizeof rules[0] };

typedef struct compiled_rule {
    pcre2_code *reach;    /* body and what follows: decides who wins */
    pcre2_code *token;    /* body before what follows; NULL if nothing must follow */
    const uint8_t *first; /* bitmap of bytes a match can begin with; NULL: any.  Owned by reach */
} compiled_rule;

struct mm1_ptb {
    compiled_rule rules[N_RULES];
    pcre2_match_data *match;
    mm1_buf line; /* the caption, made valid, with a line break at its end */
    mm1_buf token;
    int workspace[WORKSPACE_INTS];
};

static mm1_status compile(pcre2_code **out, const char *pattern, mm1_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
    if (*out == NULL) {
        return mm1_error_set(err, MM1_E_INTERNAL, "caption tokeniser: pattern \"%s\" fails at %zu (PCRE2 error %d)",
                             pattern, (size_t)at, code);
    }
    return MM1_OK;
}

static mm1_status compile_rule(compiled_rule *c, const rule *r, mm1_error *err)
{
    mm1_buf pattern;
    mm1_buf_init(&pattern, 1 << 16);
    mm1_buf_printf(&pattern, "(?:%s)(?:%s)", r->body, r->ahead != NULL ? r->ahead : "");
    mm1_status st = mm1_buf_status(&pattern);
    if (st == MM1_OK) {
        st = compile(&c->reach, mm1_buf_str(&pattern), err);
    } else {
        st = mm1_error_set(err, st, "caption tokeniser: no memory for a pattern");
    }
    if (st == MM1_OK && r->ahead != NULL) {
        mm1_buf_clear(&pattern);
        mm1_buf_printf(&pattern, "(?:%s)(?=%s)", r->body, r->ahead);
        st = mm1_buf_status(&pattern) == MM1_OK ? compile(&c->token, mm1_buf_str(&pattern), err)
                                                : mm1_error_set(err, MM1_E_NOMEM, "caption tokeniser: no memory");
    }
    if (st == MM1_OK) {
        (void)pcre2_pattern_info(c->reach, PCRE2_INFO_FIRSTBITMAP, &c->first);
    }
    mm1_buf_deinit(&pattern);
    return st;
}

mm1_status mm1_ptb_create(mm1_ptb **out, mm1_error *err)
{
    *out = NULL;
    mm1_ptb *t = mm1_calloc(1, sizeof *t);
    if (t == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "caption tokeniser: no memory");
    }
    mm1_buf_init(&t->line, MAX_TEXT_BYTES + 16);
    mm1_buf_init(&t->token, 4 * MAX_TEXT_BYTES);
    mm1_status st = MM1_OK;
    t->match = pcre2_match_data_create(1, NULL);
    if (t->match == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "caption tokeniser: no memory");
    }
    for (size_t i = 0; st == MM1_OK && i < N_RULES; i++) {
        st = compile_rule(&t->rules[i], &rules[i], err);
    }
    if (st != MM1_OK) {
        mm1_ptb_destroy(t);
        return st;
    }
    *out = t;
    return MM1_OK;
}

void mm1_ptb_destroy(mm1_ptb *t)
{
    if (t == NULL) {
        return;
    }
    for (size_t i = 0; i < N_RULES; i++) {
        pcre2_code_free(t->rules[i].reach);
        pcre2_code_free(t->rules[i].token);
    }
    pcre2_match_data_free(t->match);
    mm1_buf_deinit(&t->line);
    mm1_buf_deinit(&t->token);
    mm1_free(t);
}

/* Copies text into t->line: what is no UTF-8 becomes U+FFFD and what lies beyond U+FFFF an unassigned character, both
 * of which no rule knows; line breaks become spaces, and one is put at the end. */
static mm1_status load_line(mm1_ptb *t, const char *text, size_t len, mm1_error *err)
{
    mm1_buf_clear(&t->line);
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c = -1;
        const utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0) {
            mm1_buf_puts(&t->line, "\xEF\xBF\xBD");
            i++;
            continue;
        }
        const bool is_break = (c >= 0x0A && c <= 0x0D) || c == 0x85 || c == 0x2028 || c == 0x2029 || c == 0;
        if (is_break) {
            mm1_buf_putc(&t->line, ' ');
        } else if (c > 0xFFFF) {
            mm1_buf_puts(&t->line, "\xEF\xBF\xBD");
        } else {
            mm1_buf_append(&t->line, text + i, (size_t)n);
        }
        i += (size_t)n;
    }
    mm1_buf_putc(&t->line, '\n');
    if (mm1_buf_status(&t->line) != MM1_OK) {
        return mm1_error_set(err, mm1_buf_status(&t->line), "caption of %zu bytes cannot be held; the limit is %d", len,
                             MAX_TEXT_BYTES);
    }
    return MM1_OK;
}

/* Length of the longest match at `at`, 0 if there is none; a negative PCRE2 code on failure. */
static int64_t longest(mm1_ptb *t, const pcre2_code *code, size_t at)
{
    const int rc = pcre2_dfa_match(code, (PCRE2_SPTR)t->line.data, t->line.len, at,
                                   PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, t->match, NULL, t->workspace,
                                   WORKSPACE_INTS);
    if (rc == PCRE2_ERROR_NOMATCH) {
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(t->match);
    return (int64_t)(ends[1] - ends[0]);
}

/* Letters up to a space are one word unless they are one of the few that are cut in two: most of every caption. */
static size_t plain_word(const mm1_ptb *t, size_t at)
{
    static const char *const cut[] = {"cannot", "gonna", "wanna", "gotta", "lemme", "gimme"};
    size_t n = 0;
    for (const char *p = t->line.data + at; (p[n] >= 'a' && p[n] <= 'z') || (p[n] >= 'A' && p[n] <= 'Z'); n++) {
    }
    const char next = t->line.data[at + n];
    if (n == 0 || (next != ' ' && next != '\n')) {
        return 0;
    }
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        if (n == strlen(cut[i]) && strncasecmp(t->line.data + at, cut[i], n) == 0) {
            return 0;
        }
    }
    return n;
}

/* A character of a token as the original writes it; NULL: as it is.  Spaces inside tokens (markup, "1 1/2") separate
 * words later on, because the metric splits at every kind of white space. */
static const char *spelling(rule_kind kind, utf8proc_int32_t c)
{
    switch (c) {
    case '(': return kind == BRACKET ? "-lrb-" : NULL;
    case ')': return kind == BRACKET ? "-rrb-" : NULL;
    case '[': return kind == BRACKET ? "-lsb-" : NULL;
    case ']': return kind == BRACKET ? "-rsb-" : NULL;
    case '{': return kind == BRACKET ? "-lcb-" : NULL;
    case '}': return kind == BRACKET ? "-rcb-" : NULL;
    case '"': return kind == QUOTE ? "''" : NULL;
    case 0x91:
    case 0x2018:
    case 0x201B:
    case 0x2039: return kind == QUOTE ? "`" : NULL;
    case 0x92:
    case 0x2019:
    case 0x203A: return kind == QUOTE ? "'" : NULL;
    case 0x93:
    case 0x201C:
    case 0xAB: return kind == QUOTE ? "``" : NULL;
    case 0x94:
    case 0x201D:
    case 0xBB: return kind == QUOTE ? "''" : NULL;
    case 0xA0: return " ";
    case 0xAD: return "";
    case 0xA2: return "cents";
    case 0xA3: return "#";
    case 0x80:
    case 0xA4:
    case 0x20A0:
    case 0x20AC: return "$";
    case 0xBC: return "1/4";
    case 0xBD: return "1/2";
    case 0xBE: return "3/4";
    case 0x2153: return "1/3";
    default: return NULL;
    }
}

static bool is_punctuation(const char *token)
{
    static const char *const dropped[] = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"};
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++) {
        if (strcmp(token, dropped[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void put_token(mm1_ptb *t, rule_kind kind, const char *p, size_t len, mm1_buf *out)
{
    if (kind == SKIP || kind == DASH || kind == ELLIPSIS) {
        return; /* the last two are always punctuation */
    }
    mm1_buf_clear(&t->token);
    if (kind == ENTITY) {
        mm1_buf_putc(&t->token, p[1] == 'l' ? '<' : p[1] == 'g' ? '>' : '&');
        len = 0;
    } else if (kind == QUOTE && p[0] == '&') {
        return;
    }
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c = 0;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0) {
            break; /* cannot happen: the line is valid */
        }
        const char *spelled = spelling(kind, c);
        if (spelled != NULL) {
            mm1_buf_puts(&t->token, spelled);
        } else {
            utf8proc_uint8_t bytes[4];
            const utf8proc_ssize_t m = utf8proc_encode_char(utf8proc_tolower(c), bytes);
            mm1_buf_append(&t->token, bytes, m > 0 ? (size_t)m : 0);
        }
        i += (size_t)n;
    }
    if (mm1_buf_status(&t->token) == MM1_OK && t->token.len > 0 && !is_punctuation(mm1_buf_str(&t->token))) {
        if (out->len > 0) {
            mm1_buf_putc(out, ' ');
        }
        mm1_buf_append(out, t->token.data, t->token.len);
    }
}

mm1_status mm1_ptb_tokenize(mm1_ptb *t, const char *text, size_t len, mm1_buf *out, mm1_error *err)
{
    if (len > MAX_TEXT_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "caption of %zu bytes is over the limit of %d", len, MAX_TEXT_BYTES);
    }
    mm1_status st = load_line(t, text, len, err);
    mm1_buf_clear(out);
    for (size_t at = 0; st == MM1_OK && at < t->line.len;) {
        const uint8_t first = (uint8_t)t->line.data[at];
        int64_t token = (int64_t)plain_word(t, at), reach = 0;
        rule_kind kind = PLAIN;
        size_t winner = 0;
        for (size_t i = 0; token == 0 && i < N_RULES; i++) {
            const compiled_rule *r = &t->rules[i];
            if (r->first != NULL && (r->first[first >> 3] >> (first & 7) & 1) == 0) {
                continue;
            }
            const int64_t n = longest(t, r->reach, at);
            if (n < 0) {
                return mm1_error_set(err, n == PCRE2_ERROR_NOMEMORY ? MM1_E_NOMEM : MM1_E_INTERNAL,
                                     "caption tokeniser: rule %zu fails at byte %zu (PCRE2 error %d)", i, at, (int)n);
            }
            if (n > reach) {
                reach = n;
                kind = rules[i].kind;
                winner = i;
            }
        }
        if (token == 0 && reach > 0) {
            const compiled_rule *r = &t->rules[winner];
            token = r->token != NULL ? longest(t, r->token, at) : reach;
        }
        if (token > 0) {
            put_token(t, kind, t->line.data + at, (size_t)token, out);
            at += (size_t)token;
        } else { /* no rule knows this character: it is dropped, like every other that is unknown */
            at++;
            while (((uint8_t)t->line.data[at] & 0xC0) == 0x80) {
                at++;
            }
        }
    }
    if (st == MM1_OK && mm1_buf_status(out) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(out), "words of a caption of %zu bytes do not fit", len);
    }
    return st;
}
