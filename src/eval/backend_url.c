/* backend_url.c - answers of a server that speaks OpenAI's chat API: POST <url>/chat/completions. */
#include "eval/backend.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ANSWER_BYTES = 16 << 20, MAX_SERVER_STOPS = 4, N_TRIES = 4, TIMEOUT_SECONDS = 600 };

static const size_t MAX_REQUEST_BYTES = (size_t)1 << 30;

typedef struct remote {
    mm1_backend base;
    char *url, *model;
    CURLM *multi;
    struct curl_slist *headers;
} remote;

/* One request on its way. */
typedef struct request {
    mm1_ask *ask;
    CURL *easy;
    mm1_buf body, answer;
    char message[CURL_ERROR_SIZE];
    CURLcode code;
    long http;
    bool is_done;
} request;

static void close_remote(mm1_backend *b)
{
    remote *r = (remote *)b;
    if (r->multi != NULL) {
        (void)curl_multi_cleanup(r->multi);
    }
    curl_slist_free_all(r->headers);
    mm1_free(r->url);
    mm1_free(r->model);
    mm1_free(r);
    curl_global_cleanup();
}

/* ---- the request ---- */

static const char *mime_of(const mm1_part *p)
{
    mm1_image_format format = MM1_IMAGE_JPEG;
    mm1_error ignored;
    if (mm1_image_probe(p->bytes, p->len, &mm1_image_limits_default, p->name, &format, NULL, NULL, &ignored) !=
        MM1_OK) {
        return "application/octet-stream";
    }
    return format == MM1_IMAGE_PNG ? "image/png" : format == MM1_IMAGE_WEBP ? "image/webp" : "image/jpeg";
}

static void put_content(const mm1_document *d, mm1_buf *out)
{
    mm1_buf_putc(out, '[');
    for (size_t i = 0; i < d->n_parts; i++) {
        const mm1_part *p = &d->parts[i];
        mm1_buf_puts(out, i > 0 ? ", " : "");
        if (p->kind == MM1_PART_IMAGE) {
            mm1_buf_printf(out, "{\"type\": \"image_url\", \"image_url\": {\"url\": \"data:%s;base64,", mime_of(p));
            mm1_buf_put_base64(out, p->bytes, p->len);
            mm1_buf_puts(out, "\"}}");
        } else {
            mm1_buf_puts(out, "{\"type\": \"text\", \"text\": ");
            mm1_buf_put_json(out, p->bytes);
            mm1_buf_putc(out, '}');
        }
    }
    mm1_buf_putc(out, ']');
}

static void put_request(const remote *r, const mm1_ask *ask, const mm1_generate_params *p, mm1_buf *out)
{
    mm1_buf_puts(out, "{\"model\": ");
    mm1_buf_put_json(out, r->model);
    mm1_buf_puts(out, ", \"messages\": [{\"role\": \"user\", \"content\": ");
    put_content(ask->prompt, out);
    mm1_buf_printf(out, "}], \"max_tokens\": %lld, \"temperature\": %.6g, \"seed\": %llu", (long long)p->max_tokens,
                   p->sampling.temperature, (unsigned long long)(p->sampling.seed + ask->sample));
    for (size_t i = 0; i < p->n_stop && i < MAX_SERVER_STOPS; i++) {
        mm1_buf_puts(out, i == 0 ? ", \"stop\": [" : ", ");
        mm1_buf_put_json(out, p->stop[i]);
    }
    mm1_buf_puts(out, p->n_stop > 0 ? "]}" : "}");
}

static size_t take_bytes(char *bytes, size_t size, size_t n, void *ctx)
{
    mm1_buf *answer = ctx;
    mm1_buf_append(answer, bytes, size * n);
    return mm1_buf_status(answer) == MM1_OK ? size * n : 0; /* 0: curl gives up */
}

static mm1_status start(remote *r, request *q, mm1_error *err)
{
    q->easy = curl_easy_init();
    q->is_done = false;
    mm1_buf_clear(&q->answer);
    if (q->easy == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a request");
    }
    (void)curl_easy_setopt(q->easy, CURLOPT_URL, r->url);
    (void)curl_easy_setopt(q->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(q->easy, CURLOPT_HTTPHEADER, r->headers);
    (void)curl_easy_setopt(q->easy, CURLOPT_POSTFIELDS, mm1_buf_str(&q->body));
    (void)curl_easy_setopt(q->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.len);
    (void)curl_easy_setopt(q->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    (void)curl_easy_setopt(q->easy, CURLOPT_WRITEDATA, &q->answer);
    (void)curl_easy_setopt(q->easy, CURLOPT_ERRORBUFFER, q->message);
    (void)curl_easy_setopt(q->easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(q->easy, CURLOPT_TIMEOUT, (long)TIMEOUT_SECONDS);
    (void)curl_easy_setopt(q->easy, CURLOPT_PRIVATE, q);
    return curl_multi_add_handle(r->multi, q->easy) == CURLM_OK ? MM1_OK
                                                                : mm1_error_set(err, MM1_E_NOMEM,
                                                                                "no memory for a "
                                                                                "request");
}

static void stop(remote *r, request *q)
{
    if (q->easy != NULL) {
        (void)curl_multi_remove_handle(r->multi, q->easy);
        curl_easy_cleanup(q->easy);
        q->easy = NULL;
    }
}

/* Waits until one or more are done. */
static mm1_status wait_for_some(remote *r, mm1_error *err)
{
    int n_running = 0, n_left = 0;
    CURLMcode code = curl_multi_perform(r->multi, &n_running);
    if (code == CURLM_OK && n_running > 0) {
        code = curl_multi_poll(r->multi, NULL, 0, 1000, NULL);
    }
    if (code != CURLM_OK) {
        return mm1_error_set(err, MM1_E_IO, "%s: %s", r->url, curl_multi_strerror(code));
    }
    for (CURLMsg *m = curl_multi_info_read(r->multi, &n_left); m != NULL; m = curl_multi_info_read(r->multi, &n_left)) {
        request *q = NULL;
        if (m->msg == CURLMSG_DONE) {
            const CURLcode done = m->data.result;
            (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &q);
            (void)curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &q->http);
            q->code = done;
            q->is_done = true;
        }
    }
    return MM1_OK;
}

/* ---- the answer ---- */

/* choices[0].message.content; a refusal of the server is the ask's own failure. */
static mm1_status read_answer(const remote *r, request *q, const mm1_generate_params *p)
{
    json_error_t where;
    mm1_ask *ask = q->ask;
    json_t *root = json_loadb(mm1_buf_str(&q->answer), q->answer.len, 0, &where);
    const json_t *first = json_array_get(json_object_get(root, "choices"), 0),
                 *content = json_object_get(json_object_get(first, "message"), "content");
    const char *text = json_is_null(content) ? "" : json_string_value(content);
    mm1_status st = MM1_OK;
    if (q->http < 200 || q->http > 299) {
        st = mm1_error_set(&ask->error, q->http >= 500 ? MM1_E_IO : MM1_E_FORMAT, "%s: status %ld: %.300s", r->url,
                           q->http, mm1_buf_str(&q->answer));
    } else if (text == NULL) {
        st = mm1_error_set(&ask->error, MM1_E_FORMAT, "%s: the answer has no choices[0].message.content: %.200s",
                           r->url, mm1_buf_str(&q->answer));
    } else {
        size_t len = strlen(text);
        for (size_t i = 0; i < p->n_stop; i++) { /* servers take few stop strings */
            const char *at = strstr(text, p->stop[i]);
            len = at != NULL && (size_t)(at - text) < len ? (size_t)(at - text) : len;
        }
        ask->text = mm1_strndup(text, len);
        st = ask->text == NULL ? mm1_error_set(&ask->error, MM1_E_NOMEM, "no memory for an answer") : MM1_OK;
        ask->n_prompt_tokens = json_integer_value(json_object_get(json_object_get(root, "usage"), "prompt_tokens"));
    }
    json_decref(root);
    return st;
}

static bool is_worth_another_try(const request *q)
{
    return q->code != CURLE_OK || q->http == 429 || q->http >= 500;
}

static void pause_before(int try)
{
    const struct timespec t = {.tv_sec = (1 << try) / 2, .tv_nsec = try == 0 ? 500000000 : 0};
    (void)nanosleep(&t, NULL);
}

/* All asks of one round, at most as many as are sent at once. */
static mm1_status run_round(remote *r, request *q, size_t n, const mm1_generate_params *params, mm1_error *err)
{
    mm1_status st = MM1_OK;
    size_t n_open = n;
    for (int try = 0; st == MM1_OK && n_open > 0; try++) {
        size_t n_waiting = 0;
        for (size_t i = 0; st == MM1_OK && i < n; i++) {
            if (!q[i].is_done) {
                st = start(r, &q[i], err);
                n_waiting++;
            }
        }
        while (st == MM1_OK && n_waiting > 0) {
            st = wait_for_some(r, err);
            for (size_t i = 0; i < n; i++) {
                if (q[i].is_done && q[i].easy != NULL) {
                    stop(r, &q[i]);
                    n_waiting--;
                }
            }
        }
        n_open = 0;
        for (size_t i = 0; st == MM1_OK && i < n; i++) {
            if (try + 1 < N_TRIES && is_worth_another_try(&q[i])) {
                q[i].is_done = false;
                n_open++;
            }
        }
        if (st == MM1_OK && n_open > 0) {
            mm1_log(MM1_LOG_WARN, "%s: %zu of %zu requests are sent again", r->url, n_open, n);
            pause_before(try);
        }
    }
    for (size_t i = 0; i < n; i++) {
        stop(r, &q[i]);
        if (st == MM1_OK && q[i].code != CURLE_OK) { /* no server: that concerns all */
            st = mm1_error_set(err, MM1_E_IO, "%s: %s", r->url,
                               q[i].message[0] != '\0' ? q[i].message : curl_easy_strerror(q[i].code));
        } else if (st == MM1_OK) {
            q[i].ask->status = read_answer(r, &q[i], params);
            if (q[i].http == 401 || q[i].http == 403 || q[i].http == 404) { /* as does a wrong key or path */
                st = mm1_error_set(err, MM1_E_IO, "%s", q[i].ask->error.message);
            }
        }
    }
    return st;
}

static mm1_status generate_remote(mm1_backend *b, mm1_ask *asks, size_t n, const mm1_generate_params *params,
                                  mm1_error *err)
{
    remote *r = (remote *)b;
    const size_t most = (size_t)b->batch;
    request *q = mm1_calloc(most, sizeof *q);
    mm1_status st = q == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu requests", most) : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i += most) {
        const size_t count = n - i < most ? n - i : most;
        for (size_t k = 0; k < count; k++) {
            q[k] = (request){.ask = &asks[i + k]};
            mm1_buf_init(&q[k].body, MAX_REQUEST_BYTES);
            mm1_buf_init(&q[k].answer, MAX_ANSWER_BYTES);
            put_request(r, q[k].ask, params, &q[k].body);
            if (mm1_buf_status(&q[k].body) != MM1_OK && st == MM1_OK) {
                st = mm1_error_set(err, mm1_buf_status(&q[k].body), "a prompt is too long to be sent");
            }
        }
        st = st != MM1_OK ? st : run_round(r, q, count, params, err);
        for (size_t k = 0; k < count; k++) {
            mm1_buf_deinit(&q[k].body);
            mm1_buf_deinit(&q[k].answer);
        }
    }
    mm1_free(q);
    return st;
}

static const mm1_backend_calls calls = {close_remote, generate_remote, NULL};

static char *full_url(const char *url)
{
    static const char path[] = "/chat/completions";
    mm1_buf out;
    mm1_buf_init(&out, 1 << 16);
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    mm1_buf_append(&out, url, len);
    const bool is_full = len >= sizeof path - 1 && memcmp(url + len - (sizeof path - 1), path, sizeof path - 1) == 0;
    if (!is_full) {
        mm1_buf_puts(&out, len >= 3 && memcmp(url + len - 3, "/v1", 3) == 0 ? "" : "/v1");
        mm1_buf_puts(&out, path);
    }
    char *full = mm1_buf_take(&out);
    mm1_buf_deinit(&out);
    return full;
}

mm1_status mm1_backend_open_url(const char *url, const char *model, int64_t batch, mm1_backend **out, mm1_error *err)
{
    *out = NULL;
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        return mm1_error_set(err, MM1_E_ARG, "--base-url %.200s: an address begins with http:// or https://", url);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return mm1_error_set(err, MM1_E_NOMEM, "libcurl cannot begin");
    }
    remote *r = mm1_calloc(1, sizeof *r);
    if (r == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to ask a server");
    }
    r->base = (mm1_backend){&calls, batch};
    r->url = full_url(url);
    r->model = mm1_strdup(model != NULL ? model : "default");
    r->multi = curl_multi_init();
    r->headers = curl_slist_append(NULL, "Content-Type: application/json");
    const char *key = getenv("MM1_API_KEY");
    mm1_buf bearer;
    mm1_buf_init(&bearer, 1 << 14);
    if (key != NULL && key[0] != '\0') {
        mm1_buf_printf(&bearer, "Authorization: Bearer %s", key);
        struct curl_slist *more = curl_slist_append(r->headers, mm1_buf_str(&bearer));
        r->headers = more != NULL ? more : r->headers;
    }
    mm1_buf_deinit(&bearer);
    if (r->url == NULL || r->model == NULL || r->multi == NULL || r->headers == NULL) {
        close_remote(&r->base);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to ask a server");
    }
    *out = &r->base;
    return MM1_OK;
}
