/* cli.c - see cli.h. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/fields.h"
#include "base/file.h"
#include "base/thread.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int mm1_cli_finish(const char *command, mm1_status st, const mm1_error *err)
{
    if (st != MM1_OK) {
        (void)fprintf(stderr, "mm1 %s: %s\n", command, err->message[0] != '\0' ? err->message : mm1_status_name(st));
    }
    if (fflush(stdout) != 0 && st == MM1_OK) {
        (void)fprintf(stderr, "mm1 %s: cannot write to standard output\n", command);
        st = MM1_E_IO;
    }
    return mm1_status_exit_code(st);
}

/* Edit distance with a bound on the length of names: enough to guess what was meant. */
static size_t distance(const char *a, const char *b)
{
    enum { CAP = 32 };
    size_t row[CAP + 1];
    const size_t na = strlen(a), nb = strlen(b);
    if (na > CAP || nb > CAP) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= nb; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            const size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t best = row[j] < row[j - 1] ? row[j] : row[j - 1];
            best = best + 1 < substitute ? best + 1 : substitute;
            row[j] = best;
        }
    }
    return row[nb];
}

static void print_commands(FILE *to, const char *program, const char *about, const mm1_command *commands)
{
    (void)fprintf(to, "Usage: %s COMMAND [OPTION...]\n%s\n\n", program, about);
    for (const mm1_command *c = commands; c->name != NULL; c++) {
        (void)fprintf(to, "  %-12s %s\n", c->name, c->summary);
    }
    (void)fprintf(to, "\n`%s COMMAND --help` explains one.\n", program);
}

int mm1_cli_dispatch(const char *program, const char *about, const mm1_command *commands, int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr, program, about, commands);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "-?") == 0 ||
        strcmp(name, "help") == 0) {
        print_commands(stdout, program, about, commands);
        return 0;
    }
    const mm1_command *nearest = NULL;
    size_t least = 4;
    for (const mm1_command *c = commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0) {
            char title[64];
            (void)snprintf(title, sizeof title, "%s %s", program, c->name);
            argv[1] = title;
            const int code = c->run(argc - 1, argv + 1);
            argv[1] = NULL;
            return code;
        }
        const size_t d = distance(c->name, name);
        if (d < least) {
            least = d;
            nearest = c;
        }
    }
    (void)fprintf(stderr, "%s: no command \"%s\"", program, name);
    if (nearest != NULL) {
        (void)fprintf(stderr, "; did you mean \"%s\"?", nearest->name);
    }
    (void)fprintf(stderr, " `%s --help` lists them.\n", program);
    return 2;
}

int64_t mm1_cli_int(const struct argp_state *state, const char *option, const char *text, int64_t min, int64_t max)
{
    int64_t v = 0;
    if (!mm1_parse_i64(text, &v) || v < min || v > max) {
        argp_error(state, "%s %s: a whole number from %lld to %lld is wanted", option, text, (long long)min,
                   (long long)max);
    }
    return v;
}

double mm1_cli_number(const struct argp_state *state, const char *option, const char *text, double min, double max)
{
    double v = 0;
    if (!mm1_parse_f64(text, &v) || v < min || v > max) {
        argp_error(state, "%s %s: a number from %g to %g is wanted", option, text, min, max);
    }
    return v;
}

int64_t mm1_cli_image_size(const struct argp_state *state, const char *text)
{
    return mm1_cli_int(state, "--image-size", text, 1, 8192);
}

const char *const mm1_cli_image_modes[] = {"plain", "subimages", NULL}; /* as mm1_image_mode */

int mm1_cli_image_mode(const struct argp_state *state, const char *text)
{
    for (int i = 0; mm1_cli_image_modes[i] != NULL; i++) {
        if (strcmp(mm1_cli_image_modes[i], text) == 0) {
            return i;
        }
    }
    argp_error(state, "--image-mode %s: plain or subimages is wanted", text);
    return -1;
}

void mm1_cli_list_add(const struct argp_state *state, mm1_cli_list *list, const char *item)
{
    const char **items = mm1_realloc(list->items, list->n + 1, sizeof *items);
    if (items == NULL) {
        argp_failure(state, 5, 0, "out of memory");
        return;
    }
    list->items = items;
    list->items[list->n++] = item;
}

void mm1_cli_list_free(mm1_cli_list *list)
{
    mm1_free(list->items);
    *list = (mm1_cli_list){0};
}

bool mm1_cli_is_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) == 1 && (term == NULL || strcmp(term, "dumb") != 0);
}

mm1_cli_progress mm1_cli_progress_make(void)
{
    return (mm1_cli_progress){.terminal = mm1_cli_is_terminal()};
}

void mm1_cli_progress_print(void *ctx, const char *task, int64_t done, int64_t total)
{
    mm1_cli_progress *p = ctx;
    const double now = mm1_time_now();
    const bool last = done >= total;
    if ((!last && now < p->next) || (!p->terminal && !last)) {
        return;
    }
    p->next = now + 0.2;
    (void)fprintf(stderr, "%s%s %lld/%lld%s", p->terminal ? "\r\033[K" : "", task, (long long)done, (long long)total,
                  p->terminal && !last ? "" : "\n");
    (void)fflush(stderr);
}

void mm1_cli_duration(char *text, size_t cap, double seconds)
{
    const long long s = isfinite(seconds) && seconds > 0 ? llround(fmin(seconds, 1e12)) : 0;
    if (s >= 3600) {
        (void)snprintf(text, cap, "%lldh%02lldm", s / 3600, s / 60 % 60);
    } else if (s >= 60) {
        (void)snprintf(text, cap, "%lldm%02llds", s / 60, s % 60);
    } else {
        (void)snprintf(text, cap, "%llds", s);
    }
}

void mm1_cli_count(char *text, size_t cap, double n)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
    size_t u = 0;
    while (n >= 999.5 && u + 1 < sizeof units / sizeof *units) {
        n /= 1000;
        u++;
    }
    (void)snprintf(text, cap, u == 0 ? "%.0f%s" : n < 9.995 ? "%.2f%s" : n < 99.95 ? "%.1f%s" : "%.0f%s", n, units[u]);
}

static void print_size(const char *path)
{
    struct stat info;
    if (path != NULL && stat(path, &info) == 0) {
        (void)printf("%12lld  %s\n", (long long)info.st_size, path);
    }
}

mm1_status mm1_cli_print_json(json_t *root, size_t flags, mm1_error *err)
{
    if (root == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the JSON object");
    }
    const bool ok = json_dumpf(root, stdout, flags) == 0 && puts("") >= 0;
    json_decref(root);
    return ok ? MM1_OK : mm1_error_set(err, MM1_E_IO, "cannot write the JSON object to standard output");
}

mm1_status mm1_cli_print_files(const char *path, mm1_error *err)
{
    mm1_names names = {0};
    if (!mm1_path_is_dir(path)) {
        print_size(path);
        return MM1_OK;
    }
    mm1_status st = mm1_dir_list(path, &names, err);
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        char *file = mm1_path_join(path, names.items[i]);
        print_size(file);
        mm1_free(file);
    }
    mm1_names_free(&names);
    return st;
}

mm1_dtype mm1_cli_dtype(const struct argp_state *state, const char *text)
{
    static const struct {
        const char *name;
        mm1_dtype dtype;
    } types[] = {{"f32", MM1_DTYPE_F32}, {"bf16", MM1_DTYPE_BF16}, {"f16", MM1_DTYPE_F16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(text, types[i].name) == 0) {
            return types[i].dtype;
        }
    }
    argp_error(state, "--dtype %s: one of f32, bf16, f16 is wanted", text);
    return MM1_DTYPE_F32;
}
