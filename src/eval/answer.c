/* answer.c - see answer.h. */
#include "eval/answer.h"

#include "base/alloc.h"
#include "text/utf8.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

enum { MAX_BYTES = 1 << 20, MAX_STOPS_DROPPED = 32, MAX_NUMBER_BYTES = 64 };

/* The next character at *p, or the byte that is none; *p moves behind it. */
static uint32_t next_char(const char **p, const char *end)
{
    uint32_t c = 0;
    size_t n = mm1_utf8_decode(*p, (size_t)(end - *p), &c);
    if (n == 0) {
        n = 1;
        c = UINT32_C(0x110000) + (unsigned char)**p;
    }
    *p += n;
    return c;
}

static void put_char(mm1_buf *out, uint32_t c)
{
    char bytes[MM1_UTF8_MAX_BYTES];
    if (c >= UINT32_C(0x110000)) {
        mm1_buf_putc(out, (char)(c - UINT32_C(0x110000)));
    } else {
        mm1_buf_append(out, bytes, mm1_utf8_encode(bytes, c));
    }
}

static uint32_t lower(uint32_t c)
{
    return c < UINT32_C(0x110000) ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) : c;
}

/* What Python takes for white space. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_digit(uint32_t c)
{
    return c < 0x80 ? c >= '0' && c <= '9'
                    : c < UINT32_C(0x110000) && utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

static bool digit_at(const char *p, const char *end)
{
    return p < end && is_digit(next_char(&p, end));
}

/* ---- VQA ---- */

static bool in_list(const char *const *list, const char *word)
{
    for (; *list != NULL; list++) {
        if (strcmp(*list, word) == 0) {
            return true;
        }
    }
    return false;
}

/* Pairs of a spelling and what stands for it.  Only spellings in lower case can be met. */
static const char *const numbers[] = {"none",  "0",    "zero", "0",    "one", "1",   "two", "2",     "three",
                                      "3",     "four", "4",    "five", "5",   "six", "6",   "seven", "7",
                                      "eight", "8",    "nine", "9",    "ten", "10",  NULL};

static const char *const contractions[] = {
    /* clang-format off */
    "aint", "ain't", "arent", "aren't", "cant", "can't", "couldve", "could've", "couldnt", "couldn't",
    "couldn'tve", "couldn't've", "couldnt've", "couldn't've", "didnt", "didn't", "doesnt", "doesn't", "dont", "don't",
    "hadnt", "hadn't", "hadnt've", "hadn't've", "hadn'tve", "hadn't've", "hasnt", "hasn't", "havent", "haven't",
    "hed", "he'd", "hed've", "he'd've", "he'dve", "he'd've", "hes", "he's", "howd", "how'd", "howll", "how'll",
    "hows", "how's", "isnt", "isn't", "itd", "it'd", "itd've", "it'd've", "it'dve", "it'd've", "itll", "it'll",
    "maam", "ma'am", "mightnt", "mightn't", "mightnt've", "mightn't've", "mightn'tve", "mightn't've",
    "mightve", "might've", "mustnt", "mustn't", "mustve", "must've", "neednt", "needn't", "notve", "not've",
    "oclock", "o'clock", "oughtnt", "oughtn't", "ow's'at", "'ow's'at", "'ows'at", "'ow's'at", "'ow'sat", "'ow's'at",
    "shant", "shan't", "shed've", "she'd've", "she'dve", "she'd've", "shouldve", "should've", "shouldnt", "shouldn't",
    "shouldnt've", "shouldn't've", "shouldn'tve", "shouldn't've", "somebody'd", "somebodyd",
    "somebodyd've", "somebody'd've", "somebody'dve", "somebody'd've", "somebodyll", "somebody'll",
    "somebodys", "somebody's", "someoned", "someone'd", "someoned've", "someone'd've", "someone'dve", "someone'd've",
    "someonell", "someone'll", "someones", "someone's", "somethingd", "something'd", "somethingd've", "something'd've",
    "something'dve", "something'd've", "somethingll", "something'll", "thats", "that's", "thered", "there'd",
    "thered've", "there'd've", "there'dve", "there'd've", "therere", "there're", "theres", "there's", "theyd", "they'd",
    "theyd've", "they'd've", "they'dve", "they'd've", "theyll", "they'll", "theyre", "they're", "theyve", "they've",
    "twas", "'twas", "wasnt", "wasn't", "wed've", "we'd've", "we'dve", "we'd've", "weve", "we've", "werent", "weren't",
    "whatll", "what'll", "whatre", "what're", "whats", "what's", "whatve", "what've", "whens", "when's",
    "whered", "where'd", "wheres", "where's", "whereve", "where've", "whod", "who'd", "whod've", "who'd've",
    "who'dve", "who'd've", "wholl", "who'll", "whos", "who's", "whove", "who've", "whyll", "why'll", "whyre", "why're",
    "whys", "why's", "wont", "won't", "wouldve", "would've", "wouldnt", "wouldn't", "wouldnt've", "wouldn't've",
    "wouldn'tve", "wouldn't've", "yall", "y'all", "yall'll", "y'all'll", "y'allll", "y'all'll",
    "yall'd've", "y'all'd've", "y'alld've", "y'all'd've", "y'all'dve", "y'all'd've", "youd", "you'd",
    "youd've", "you'd've", "you'dve", "you'd've", "youll", "you'll", "youre", "you're", "youve", "you've", NULL,
    /* clang-format on */
};

static const char *mapped(const char *const *pairs, const char *word)
{
    for (; *pairs != NULL; pairs += 2) {
        if (strcmp(pairs[0], word) == 0) {
            return pairs[1];
        }
    }
    return word;
}

/* Ends and line breaks: what the evaluation does before it looks at words. */
static void put_stripped(mm1_buf *out, const char *text)
{
    const char *end = text + strlen(text), *from = end, *to = text;
    for (const char *p = text; p < end;) {
        const char *at = p;
        if (!is_space(next_char(&p, end))) {
            from = at < from ? at : from;
            to = p;
        }
    }
    for (const char *p = from; p < to; p++) {
        mm1_buf_putc(out, *p == '\n' || *p == '\t' ? ' ' : *p);
    }
}

static bool comma_between_digits(const char *text, size_t len)
{
    bool digit = false;
    for (const char *p = text, *end = text + len; p < end;) {
        const uint32_t c = next_char(&p, end);
        if (c == ',' && digit && digit_at(p, end)) {
            return true;
        }
        digit = is_digit(c);
    }
    return false;
}

/* Whether a space stands beside some c of the text. */
static bool beside_space(const char *text, char c)
{
    for (const char *p = strchr(text, c); p != NULL; p = strchr(p + 1, c)) {
        if (p[1] == ' ' || (p > text && p[-1] == ' ')) {
            return true;
        }
    }
    return false;
}

static void put_without_punctuation(mm1_buf *out, const char *text, size_t len)
{
    const bool comma = comma_between_digits(text, len);
    int n_dropped = 0;
    for (const char *p = text, *end = text + len; p < end; p++) {
        if (strchr(";/[]\"{}()=+\\_-><@`,?!", *p) != NULL) {
            if (!comma && !beside_space(text, *p)) {
                mm1_buf_putc(out, ' ');
            }
        } else {
            mm1_buf_putc(out, *p);
        }
    }
    if (mm1_buf_status(out) != MM1_OK) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < out->len; i++) {
        if (out->data[i] == '.' && n_dropped < MAX_STOPS_DROPPED &&
            !digit_at(out->data + i + 1, out->data + out->len)) {
            n_dropped++;
        } else {
            out->data[kept++] = out->data[i];
        }
    }
    if (out->data != NULL) {
        out->len = kept;
        out->data[kept] = '\0';
    }
}

static void put_word(mm1_buf *out, const mm1_buf *word)
{
    static const char *const articles[] = {"a", "an", "the", NULL};
    const char *w = mapped(numbers, mm1_buf_str(word));
    if (in_list(articles, w)) {
        return;
    }
    if (out->len > 0) {
        mm1_buf_putc(out, ' ');
    }
    mm1_buf_puts(out, mapped(contractions, w));
}

mm1_status mm1_answer_normalize_vqa(const char *text, mm1_buf *out, mm1_error *err)
{
    mm1_buf stripped, plain, word;
    mm1_buf_init(&stripped, MAX_BYTES);
    mm1_buf_init(&plain, MAX_BYTES);
    mm1_buf_init(&word, MAX_BYTES);
    put_stripped(&stripped, text);
    put_without_punctuation(&plain, mm1_buf_str(&stripped), stripped.len);
    mm1_buf_clear(out);
    for (const char *p = mm1_buf_str(&plain), *end = p + plain.len; p < end;) {
        const uint32_t c = next_char(&p, end);
        if (!is_space(c)) {
            put_char(&word, lower(c));
        }
        if ((is_space(c) || p == end) && word.len > 0) {
            put_word(out, &word);
            mm1_buf_clear(&word);
        }
    }
    mm1_status st = mm1_buf_status(&stripped);
    st = st != MM1_OK ? st : mm1_buf_status(&plain);
    st = st != MM1_OK ? st : mm1_buf_status(&word);
    st = st != MM1_OK ? st : mm1_buf_status(out);
    mm1_buf_deinit(&stripped);
    mm1_buf_deinit(&plain);
    mm1_buf_deinit(&word);
    return st == MM1_OK ? st : mm1_error_set(err, st, "an answer of %zu bytes is too long to compare", strlen(text));
}

mm1_status mm1_answer_vqa(const char *answer, const char *const *humans, size_t n, double *score, mm1_error *err)
{
    mm1_buf ours, theirs;
    size_t matches = 0;
    if (n == 0) {
        return mm1_error_set(err, MM1_E_ARG, "a question without human answers");
    }
    mm1_buf_init(&ours, MAX_BYTES);
    mm1_buf_init(&theirs, MAX_BYTES);
    mm1_status st = mm1_answer_normalize_vqa(answer, &ours, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = mm1_answer_normalize_vqa(humans[i], &theirs, err);
        matches += st == MM1_OK && strcmp(mm1_buf_str(&ours), mm1_buf_str(&theirs)) == 0;
    }
    /* Leaving out one that matches leaves matches - 1, one that does not leaves all. */
    const double with = fmin(1, (double)matches / 3), without = fmin(1, ((double)matches - 1) / 3);
    *score = matches == 0 ? 0 : ((double)matches * without + (double)(n - matches) * with) / (double)n;
    mm1_buf_deinit(&ours);
    mm1_buf_deinit(&theirs);
    return st;
}

/* ---- ANLS ---- */

/* Code points in lower case, runs of white space as one space, none at the ends. */
static mm1_status read_codes(const char *text, uint32_t **codes, size_t *n, mm1_error *err)
{
    const size_t len = strlen(text);
    *codes = NULL;
    *n = 0;
    if (len > MAX_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "an answer of %zu bytes is over the limit of %d", len, MAX_BYTES);
    }
    uint32_t *c = mm1_alloc(len, sizeof *c);
    if (c == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for an answer of %zu bytes", len);
    }
    bool gap = false;
    for (const char *p = text, *end = text + len; p < end;) {
        const uint32_t at = next_char(&p, end);
        if (is_space(at)) {
            gap = *n > 0;
            continue;
        }
        if (gap) {
            c[(*n)++] = ' ';
            gap = false;
        }
        c[(*n)++] = lower(at);
    }
    *codes = c;
    return MM1_OK;
}

static size_t edit_distance(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b, size_t *row)
{
    for (size_t j = 0; j <= n_b; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n_b; j++) {
            const size_t above = row[j + 1];
            size_t least = above < row[j] ? above : row[j];
            least = diagonal < least ? diagonal : least;
            row[j + 1] = a[i] == b[j] ? diagonal : least + 1;
            diagonal = above;
        }
    }
    return row[n_b];
}

/* Similarity of two, 0 where it is not over one half.  Lengths alone may show that it is not: no time is spent then. */
static mm1_status similarity(const uint32_t *a, size_t n_a, const char *truth, double *out, mm1_error *err)
{
    uint32_t *b = NULL;
    size_t n_b = 0;
    mm1_status st = read_codes(truth, &b, &n_b, err);
    const size_t longer = n_a > n_b ? n_a : n_b, shorter = n_a > n_b ? n_b : n_a;
    *out = longer == 0 ? 1 : 0;
    if (st == MM1_OK && longer > 0 && 2 * (longer - shorter) < longer) {
        size_t *row = mm1_alloc(n_b + 1, sizeof *row);
        if (row == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for an answer of %zu characters", n_b);
        } else {
            const double distance = (double)edit_distance(a, n_a, b, n_b, row) / (double)longer;
            *out = distance < 0.5 ? 1 - distance : 0;
        }
        mm1_free(row);
    }
    mm1_free(b);
    return st;
}

mm1_status mm1_answer_anls(const char *answer, const char *const *truths, size_t n, double *score, mm1_error *err)
{
    uint32_t *a = NULL;
    size_t n_a = 0;
    *score = 0;
    if (n == 0) {
        return mm1_error_set(err, MM1_E_ARG, "a question without true answers");
    }
    mm1_status st = read_codes(answer, &a, &n_a, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        double s = 0;
        st = similarity(a, n_a, truths[i], &s, err);
        *score = fmax(*score, s);
    }
    mm1_free(a);
    return st;
}

/* ---- relaxed match ---- */

/* What Python's float() takes, but for underscores between digits in a row of more than MAX_NUMBER_BYTES. */
static bool read_number(const char *text, size_t len, double *out)
{
    char plain[MAX_NUMBER_BYTES + 1];
    size_t n = 0;
    while (len > 0 && is_space((unsigned char)text[0])) {
        text++;
        len--;
    }
    while (len > 0 && is_space((unsigned char)text[len - 1])) {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        const bool inner =
            i > 0 && i + 1 < len && is_digit((unsigned char)text[i - 1]) && is_digit((unsigned char)text[i + 1]);
        if (text[i] == '_' && inner) {
            continue;
        }
        /* No hexadecimal numbers, no "nan(...)". */
        if (n == MAX_NUMBER_BYTES || strchr("0123456789+-.eEinftyaINFTYA", text[i]) == NULL) {
            return false;
        }
        plain[n++] = text[i];
    }
    plain[n] = '\0';
    char *end = NULL;
    *out = strtod(plain, &end);
    return n > 0 && end == plain + n;
}

static bool read_share(const char *text, double *out)
{
    size_t len = strlen(text);
    const bool percent = len > 0 && text[len - 1] == '%';
    while (percent && len > 0 && text[len - 1] == '%') {
        len--;
    }
    const bool ok = read_number(text, len, out);
    *out = percent ? *out / 100 : *out;
    return ok;
}

static bool equal_but_for_case(const char *a, const char *b)
{
    const char *a_end = a + strlen(a), *b_end = b + strlen(b);
    while (a < a_end && b < b_end) {
        if (lower(next_char(&a, a_end)) != lower(next_char(&b, b_end))) {
            return false;
        }
    }
    return a == a_end && b == b_end;
}

bool mm1_answer_relaxed(const char *answer, const char *truth)
{
    double a = 0, t = 0;
    if (read_share(answer, &a) && read_share(truth, &t) && t != 0) {
        return fabs(a - t) / fabs(t) <= 0.05;
    }
    return equal_but_for_case(answer, truth);
}

/* ---- yes or no ---- */

mm1_yes_no mm1_answer_pope(const char *text)
{
    const size_t len = strcspn(text, ".");
    char word[4];
    size_t n = 0; /* letters of the word so far; commas are not there */
    for (size_t i = 0; i <= len; i++) {
        if (i == len || text[i] == ' ') {
            word[n < sizeof word ? n : sizeof word - 1] = '\0';
            if (n < sizeof word && (strcmp(word, "No") == 0 || strcmp(word, "no") == 0 || strcmp(word, "not") == 0)) {
                return MM1_ANSWER_NO;
            }
            n = 0;
        } else if (text[i] != ',') {
            if (n < sizeof word - 1) {
                word[n] = text[i];
            }
            n++;
        }
    }
    return MM1_ANSWER_YES;
}

mm1_yes_no mm1_answer_mme(const char *text)
{
    char start[5] = {0};
    for (size_t i = 0; i < 4 && text[i] != '\0'; i++) {
        start[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    }
    return strstr(start, "yes") != NULL  ? MM1_ANSWER_YES
           : strstr(start, "no") != NULL ? MM1_ANSWER_NO
                                         : MM1_ANSWER_OTHER;
}
