/* fields_dump.c - structs back to YAML, and tables to the reference page; see fields.h. */
#include "base/fields.h"

#include "base/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Text that reads back the same without quotes, in mm1 and in other YAML readers: plain letters, and no word that
 * means something else. */
static bool is_plain_text(const char *s)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan"};
    const size_t n = strlen(s);
    if (n == 0 || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-") != n) {
        return false;
    }
    if ((s[0] >= '0' && s[0] <= '9') || s[0] == '-' || s[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(s, words[i]) == 0) {
            return false;
        }
    }
    return true;
}

static void write_text(const char *s, mm1_buf *out)
{
    if (s == NULL) {
        mm1_buf_puts(out, "null");
        return;
    }
    if (is_plain_text(s)) {
        mm1_buf_puts(out, s);
        return;
    }
    mm1_buf_putc(out, '"');
    const char *end = s + strlen(s);
    for (const char *p = s; p < end;) {
        uint32_t c;
        const size_t n = mm1_utf8_decode(p, (size_t)(end - p), &c);
        if (n == 0) {
            mm1_buf_puts(out, "\\uFFFD"); /* YAML cannot hold a stray byte */
            p++;
            continue;
        }
        if (c == '"' || c == '\\') {
            mm1_buf_putc(out, '\\');
            mm1_buf_putc(out, (char)c);
        } else if (c == '\n') {
            mm1_buf_puts(out, "\\n");
        } else if (c == '\t') {
            mm1_buf_puts(out, "\\t");
        } else if (c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe ||
                   c == 0xffff) {
            /* What YAML takes for a line break or refuses. */
            mm1_buf_printf(out, "\\u%04" PRIX32, c);
        } else {
            mm1_buf_append(out, p, n);
        }
        p += n;
    }
    mm1_buf_putc(out, '"');
}

static void write_number(const mm1_field *f, double v, mm1_buf *out)
{
    char text[32];
    if (f->special != NULL && (v == f->special_value.f || (isnan(v) && isnan(f->special_value.f)))) {
        mm1_buf_puts(out, f->special);
    } else {
        mm1_format_f64(text, v);
        mm1_buf_puts(out, text);
    }
}

static void write_integer(const mm1_field *f, int64_t v, mm1_buf *out)
{
    if (f->special != NULL && v == f->special_value.i) {
        mm1_buf_puts(out, f->special);
    } else {
        mm1_buf_printf(out, "%" PRId64, v);
    }
}

static void write_indent(int indent, mm1_buf *out)
{
    for (int i = 0; i < indent; i++) {
        mm1_buf_putc(out, ' ');
    }
}

/* Rows of a struct, each on its line; `first` is the indentation of the first row, which may follow a "- ". */
static void write_table(const mm1_field *table, const void *object, int first, int indent, mm1_buf *out)
{
    for (const mm1_field *f = table; f->type != MM1_FIELD_END; f++) {
        write_indent(f == table ? first : indent, out);
        mm1_buf_puts(out, f->key);
        mm1_buf_putc(out, ':');
        const bool is_block =
            f->type == MM1_FIELD_GROUP || (f->type == MM1_FIELD_LIST && mm1__field_count(f, object) > 0);
        mm1_buf_putc(out, is_block ? '\n' : ' ');
        mm1__field_write(f, object, is_block ? indent + 2 : 0, out);
        if (!is_block) {
            mm1_buf_putc(out, '\n');
        }
    }
}

void mm1__field_write(const mm1_field *f, const void *object, int indent, mm1_buf *out)
{
    const void *p = mm1__field_at(f, object);
    switch (f->type) {
    case MM1_FIELD_I64: {
        int64_t v;
        memcpy(&v, p, sizeof v);
        write_integer(f, v, out);
        break;
    }
    case MM1_FIELD_F64: {
        double v;
        memcpy(&v, p, sizeof v);
        write_number(f, v, out);
        break;
    }
    case MM1_FIELD_BOOL: {
        bool v;
        memcpy(&v, p, sizeof v);
        mm1_buf_puts(out, v ? "true" : "false");
        break;
    }
    case MM1_FIELD_ENUM: {
        int v;
        memcpy(&v, p, sizeof v);
        for (int i = 0; f->names[i] != NULL; i++) {
            if (i == v) {
                mm1_buf_puts(out, f->names[i]);
                return;
            }
        }
        mm1_buf_printf(out, "%d", v); /* no name: mm1_fields_check() would refuse it */
        break;
    }
    case MM1_FIELD_STR: {
        const char *s;
        memcpy(&s, p, sizeof s);
        write_text(s, out);
        break;
    }
    case MM1_FIELD_TEXT: write_text((const char *)p, out); break;
    case MM1_FIELD_GROUP: write_table(f->table, p, indent, indent, out); break;
    case MM1_FIELD_LIST: {
        const size_t n = mm1__field_count(f, object);
        const mm1_field item = mm1__field_item(f);
        if (n == 0) {
            mm1_buf_puts(out, "[]");
        }
        for (size_t i = 0; i < n; i++) {
            write_indent(indent, out);
            mm1_buf_puts(out, "- ");
            if (f->table != NULL) {
                write_table(f->table, mm1__field_element(f, object, i), 0, indent + 2, out);
            } else {
                mm1__field_write(&item, mm1__field_element(f, object, i), 0, out);
                mm1_buf_putc(out, '\n');
            }
        }
        break;
    }
    case MM1_FIELD_END: break;
    }
}

void mm1_fields_dump_yaml(const mm1_field *table, const void *object, mm1_buf *out)
{
    write_table(table, object, 0, 0, out);
}

void mm1__field_write_range(const mm1_field *f, mm1_buf *out)
{
    const char *above = f->is_above_min ? "> " : ">= ";
    char lo[32], hi[32];
    const mm1_field_type type = f->type == MM1_FIELD_LIST ? f->item : f->type;
    if (type == MM1_FIELD_I64) {
        if (f->max.i == 0 && f->min.i >= 0) {
            mm1_buf_printf(out, "%s%" PRId64, above, f->min.i);
        } else if (f->is_above_min) {
            mm1_buf_printf(out, "> %" PRId64 ", <= %" PRId64, f->min.i, f->max.i);
        } else {
            mm1_buf_printf(out, "%" PRId64 " .. %" PRId64, f->min.i, f->max.i);
        }
    } else if (type == MM1_FIELD_F64) {
        mm1_format_f64(lo, f->min.f);
        mm1_format_f64(hi, f->max.f);
        if (f->max.f == 0 && f->min.f >= 0) {
            mm1_buf_printf(out, "%s%s", above, lo);
        } else if (f->is_above_min) {
            mm1_buf_printf(out, "> %s, <= %s", lo, hi);
        } else {
            mm1_buf_printf(out, "%s .. %s", lo, hi);
        }
    } else if (type == MM1_FIELD_ENUM) {
        for (int i = 0; f->names[i] != NULL; i++) {
            mm1_buf_printf(out, "%s`%s`", i > 0 ? ", " : "", f->names[i]);
        }
    }
    if (f->special != NULL) {
        mm1_buf_printf(out, " or `%s`", f->special);
    }
}

static void write_cell(const char *s, mm1_buf *out)
{
    for (; s != NULL && *s != '\0'; s++) {
        if (*s == '|') {
            mm1_buf_putc(out, '\\');
        }
        mm1_buf_putc(out, *s == '\n' ? ' ' : *s);
    }
}

static const char *type_name(mm1_field_type type)
{
    switch (type) {
    case MM1_FIELD_I64: return "integer";
    case MM1_FIELD_F64: return "number";
    case MM1_FIELD_BOOL: return "true or false";
    case MM1_FIELD_ENUM: return "word";
    case MM1_FIELD_STR:
    case MM1_FIELD_TEXT: return "text";
    case MM1_FIELD_GROUP: return "group";
    case MM1_FIELD_LIST: return "list";
    case MM1_FIELD_END: break;
    }
    return "";
}

static void write_default(const mm1_field *f, mm1_buf *out)
{
    switch (f->type) {
    case MM1_FIELD_I64: write_integer(f, f->def.i, out); break;
    case MM1_FIELD_F64: write_number(f, f->def.f, out); break;
    case MM1_FIELD_BOOL: mm1_buf_puts(out, f->def.i != 0 ? "true" : "false"); break;
    case MM1_FIELD_ENUM: mm1_buf_puts(out, f->names[f->def.i]); break;
    case MM1_FIELD_STR: write_text(f->def.s, out); break;
    case MM1_FIELD_TEXT: write_text(f->def.s != NULL ? f->def.s : "", out); break;
    default: mm1_buf_puts(out, "[]");
    }
}

/* `prefix` is what stands before each key of this table, with its dot. */
static void write_reference(const mm1_field *table, const char *prefix, mm1_buf *out)
{
    for (const mm1_field *f = table; f->type != MM1_FIELD_END; f++) {
        if (f->type != MM1_FIELD_GROUP) {
            mm1_buf_printf(out, "| `%s%s` | %s", prefix, f->key, type_name(f->type));
            if (f->type == MM1_FIELD_LIST) {
                mm1_buf_printf(out, " of %s", f->table != NULL ? "groups" : type_name(f->item));
            }
            mm1_buf_puts(out, " | ");
            if (f->is_required) {
                mm1_buf_puts(out, "must be given");
            } else {
                mm1_buf_putc(out, '`');
                write_default(f, out);
                mm1_buf_putc(out, '`');
            }
            mm1_buf_puts(out, " | ");
            mm1__field_write_range(f, out);
            mm1_buf_puts(out, " | ");
            write_cell(f->unit, out);
            mm1_buf_puts(out, " | ");
            write_cell(f->help, out);
            mm1_buf_puts(out, " |\n");
        }
        if (f->table != NULL) {
            mm1_buf inner;
            mm1_buf_init(&inner, 1024);
            mm1_buf_printf(&inner, "%s%s%s.", prefix, f->key, f->type == MM1_FIELD_LIST ? ".*" : "");
            write_reference(f->table, mm1_buf_str(&inner), out);
            mm1_buf_deinit(&inner);
        }
    }
}

void mm1_fields_dump_reference(const mm1_field *table, const char *prefix, mm1_buf *out)
{
    mm1_buf_puts(out, "| key | type | default | range | unit | meaning |\n| --- | --- | --- | --- | --- | --- |\n");
    write_reference(table, prefix, out);
}
