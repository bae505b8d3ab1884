/* cmd_doctor.c - mm1 doctor: what this machine and this build have, and what to do about what is missing. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "data/source.h"
#include "kernels/probe.h"
#include <archive.h>
#include <ft2build.h>
#include FT_FREETYPE_H
#include <hb.h>
#include <jansson.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <png.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <unistd.h>
#include <utf8proc.h>
#include <webp/decode.h>
#include <yaml.h>
#include <zlib.h>
#include <zstd.h>
/* After stdio.h: only for its version. */
#include <jpeglib.h>

static const char doc[] =
    "Looks at this machine and this build: instruction sets, threads, memory, speed, libraries, demo packages, and "
    "whether the current folder can be written.\vEach problem comes with its remedy.  Exits with 1 if something that "
    "is "
    "needed is missing, else with 0.";

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    bool *json = state->input;
    switch (key) {
    case 'j': *json = true; break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" is no option", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Findings, in order; a person gets "name  value" lines, a program an object. */
typedef struct findings {
    json_t *values;   /* object of strings, numbers, arrays */
    json_t *problems; /* [{"problem", "remedy", "needed"}] */
    bool missing;     /* something needed */
} findings;

static void say(findings *f, const char *name, const char *format, ...) MM1_PRINTF(3, 4);
static void problem(findings *f, bool needed, const char *remedy, const char *format, ...) MM1_PRINTF(4, 5);

static void say(findings *f, const char *name, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)json_object_set_new(f->values, name, json_string(text));
}

static void problem(findings *f, bool needed, const char *remedy, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f->missing = f->missing || needed;
    (void)json_array_append_new(f->problems,
                                json_pack("{s:s, s:s, s:b}", "problem", text, "remedy", remedy, "needed", (int)needed));
}

/* ---- build and processor ---- */

static void look_at_build(findings *f)
{
    say(f, "version", "%s", argp_program_version);
#if defined(__clang__)
    say(f, "compiler", "clang %s", __clang_version__);
#else
    say(f, "compiler", "gcc %s", __VERSION__);
#endif
#ifndef __OPTIMIZE__
    problem(f, false, "cmake -DCMAKE_BUILD_TYPE=Release", "built without optimisation: everything is slow");
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    problem(f, false, "build without MM1_SANITIZE", "built with a sanitizer: everything is slow");
#endif
}

/* The value of the first "<key> : <value>" line of a file below /proc. */
static bool proc_value(const char *path, const char *key, char *value, size_t cap)
{
    char line[4096];
    bool found = false;
    FILE *file = fopen(path, "r");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, key, strlen(key)) == 0) {
            colon += 1 + strspn(colon + 1, " \t");
            (void)snprintf(value, cap, "%.*s", (int)strcspn(colon, "\n"), colon);
            found = true;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

static void look_at_cpu(findings *f)
{
    mm1_error err = {0};
    char model[256] = "unknown", isas[64] = "";
    (void)proc_value("/proc/cpuinfo", "model name", model, sizeof model);
    say(f, "cpu", "%s", model);
    mm1_threads_set(0);
    if (mm1_kernels_init(NULL, &err) != MM1_OK) {
        problem(f, true, "unset MM1_ISA, or set it to one that `mm1 doctor` lists", "%s", err.message);
    }
    for (int i = 0; i < MM1_ISA_COUNT; i++) {
        if (mm1_kernels_for((mm1_isa)i) != NULL) {
            const size_t len = strlen(isas);
            (void)snprintf(isas + len, sizeof isas - len, "%s%s", len > 0 ? ", " : "", mm1_isa_name((mm1_isa)i));
        }
    }
    say(f, "isa", "%s", mm1_isa_name(mm1_kernels_get()->isa));
    say(f, "isa_available", "%s", isas);
    if (mm1_kernels_get()->isa == MM1_ISA_REF) {
        problem(f, false, "use a processor with AVX2, or unset MM1_ISA",
                "the plain reference kernels are in use: training is many times slower");
    }
    say(f, "threads", "%d", mm1_threads());
    say(f, "cpus", "%ld", sysconf(_SC_NPROCESSORS_ONLN));
}

/* ---- memory and speed ---- */

static void look_at_memory(findings *f)
{
    char text[64];
    double total = 0, available = 0;
    if (proc_value("/proc/meminfo", "MemTotal", text, sizeof text)) {
        total = 1024 * strtod(text, NULL);
    }
    if (proc_value("/proc/meminfo", "MemAvailable", text, sizeof text)) {
        available = 1024 * strtod(text, NULL);
    }
    FILE *limit = fopen("/sys/fs/cgroup/memory.max", "r");
    if (limit != NULL) {
        double bytes = 0;
        if (fscanf(limit, "%lf", &bytes) == 1 && bytes > 0 && bytes < total) {
            say(f, "memory_limit", "%.1f GiB (of this container)", bytes / 1073741824);
            available = bytes < available ? bytes : available;
        }
        (void)fclose(limit);
    }
    say(f, "memory", "%.1f GiB", total / 1073741824);
    say(f, "memory_available", "%.1f GiB", available / 1073741824);
    if (available > 0 && available < 2.0 * 1073741824) {
        problem(f, false, "close other programs, or lower train.micro_batch; `mm1 plan RECIPE` says what is needed",
                "less than 2 GiB of memory are free; the demo needs about 1 GiB");
    }
}

static void look_at_speed(findings *f)
{
    char rate[32];
    if (mm1_kernels_get()->isa != MM1_ISA_REF) {
        mm1_cli_count(rate, sizeof rate, mm1_gemm_probe());
        say(f, "matrix_product", "%sflop/s", rate);
    } else {
        say(f, "matrix_product", "not measured: the reference kernels take half a minute for it");
    }
    mm1_bandwidth bandwidth;
    mm1_error err = {0};
    if (mm1_bandwidth_probe(&bandwidth, &err) != MM1_OK) {
        problem(f, false, "free some memory", "%s", err.message);
        return;
    }
    say(f, "memory_bandwidth", "%.1f GB/s", bandwidth.triad / 1e9);
}

/* ---- libraries ---- */

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

static void look_at_libraries(findings *f)
{
    char pcre[64] = "";
    FT_Library ft = NULL;
    FT_Int major = 0, minor = 0, patch = 0;
    int yaml_major = 0, yaml_minor = 0, yaml_patch = 0;
    const unsigned webp = (unsigned)WebPGetDecoderVersion();
    (void)pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    yaml_get_version(&yaml_major, &yaml_minor, &yaml_patch);
    if (FT_Init_FreeType(&ft) == 0) {
        FT_Library_Version(ft, &major, &minor, &patch);
        (void)FT_Done_FreeType(ft);
    }
    say(f, "libturbojpeg", "%s", TEXT(LIBJPEG_TURBO_VERSION));
    say(f, "libpng", "%s", png_get_libpng_ver(NULL));
    say(f, "libwebp", "%u.%u.%u", webp >> 16, webp >> 8 & 0xff, webp & 0xff);
    say(f, "libarchive", "%s", archive_version_details());
    say(f, "zstd", "%s", ZSTD_versionString());
    say(f, "zlib", "%s", zlibVersion());
    say(f, "jansson", "%s", jansson_version_str());
    say(f, "libyaml", "%d.%d.%d", yaml_major, yaml_minor, yaml_patch);
    say(f, "pcre2", "%s", pcre);
    say(f, "utf8proc", "%s", utf8proc_version());
    say(f, "freetype", "%d.%d.%d", major, minor, patch);
    say(f, "harfbuzz", "%s", hb_version_string());
    say(f, "gumbo", "linked (it has no version number)");
}

/* ---- files ---- */

/* Whether scripts/demo-data.sh has unpacked all packages that a kind of source needs. */
static bool have_packages(const char *root, const char *packages, char *first_missing, size_t cap)
{
    bool all = true;
    for (const char *p = packages; all && *p != '\0';) {
        const size_t len = strcspn(p, " ");
        char mark[256];
        (void)snprintf(mark, sizeof mark, ".unpacked/%.*s", (int)len, p);
        char *path = mm1_path_join(root, mark);
        all = path != NULL && mm1_path_exists(path);
        if (!all) {
            (void)snprintf(first_missing, cap, "%.*s", (int)len, p);
        }
        mm1_free(path);
        p += len + strspn(p + len, " ");
    }
    return all;
}

static void look_at_files(findings *f)
{
    const char *given = getenv("MM1_CACHE_DIR"), *home = getenv("HOME");
    char *cache = given != NULL  ? mm1_strdup(given)
                  : home != NULL ? mm1_path_join(home, ".cache/mm1")
                                 : mm1_strdup("/tmp/.cache/mm1"),
         *root = cache != NULL ? mm1_path_join(cache, "root") : NULL;
    int n_there = 0, n_all = 0;
    char missing[128] = "";
    for (size_t i = 0; root != NULL && mm1_source_kind_at(i) != NULL; i++) {
        const mm1_source_kind *kind = mm1_source_kind_at(i);
        if (kind->package != NULL) {
            n_all++;
            n_there += have_packages(root, kind->package, missing, sizeof missing);
        }
    }
    say(f, "cache", "%s", cache != NULL ? cache : "none");
    say(f, "demo_sources", "%d of %d", n_there, n_all);
    if (n_there < n_all) {
        problem(f, false, "run scripts/demo-data.sh",
                "%d of the %d kinds of demo sources are not there, for example %s", n_all - n_there, n_all, missing);
    }
    mm1_free(root);
    mm1_free(cache);

    char folder[4096] = "?", probe[] = "mm1-doctor-XXXXXX";
    const int fd = mkstemp(probe);
    say(f, "folder", "%s", getcwd(folder, sizeof folder) != NULL ? folder : "?");
    say(f, "folder_writable", fd >= 0 ? "yes" : "no");
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink(probe);
    } else {
        problem(f, true, "go to a folder of your own, or give paths that can be written (--run, build.out)",
                "%.200s cannot be written: runs and data go there by default", folder);
    }
}

static mm1_status print(const findings *f, bool json, mm1_error *err)
{
    if (json) {
        json_t *root =
            json_pack("{s:O, s:O, s:b}", "found", f->values, "problems", f->problems, "ok", (int)!f->missing);
        return mm1_cli_print_json(root, JSON_INDENT(2), err);
    }
    const char *name = NULL;
    json_t *value = NULL, *item = NULL;
    size_t i = 0;
    json_object_foreach(f->values, name, value)
    {
        (void)printf("%-18s %s\n", name, json_string_value(value));
    }
    json_array_foreach(f->problems, i, item)
    {
        (void)printf("%s: %s\n    %s\n", json_is_true(json_object_get(item, "needed")) ? "MISSING" : "note",
                     json_string_value(json_object_get(item, "problem")),
                     json_string_value(json_object_get(item, "remedy")));
    }
    if (json_array_size(f->problems) == 0) {
        (void)printf("no problems found\n");
    }
    return MM1_OK;
}

int mm1_cmd_doctor(int argc, char **argv)
{
    const struct argp argp = {options, parse, NULL, doc, NULL, NULL, NULL};
    bool json = false;
    mm1_error err = {0};
    findings f = {.values = json_object(), .problems = json_array()};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &json);
    look_at_build(&f);
    look_at_cpu(&f);
    look_at_memory(&f);
    look_at_speed(&f);
    look_at_libraries(&f);
    look_at_files(&f);
    mm1_status st = print(&f, json, &err);
    if (st == MM1_OK && f.missing) {
        st = mm1_error_set(&err, MM1_E_STATE, "something that is needed is missing: see above");
    }
    json_decref(f.problems);
    json_decref(f.values);
    return mm1_cli_finish("doctor", st, &err);
}
