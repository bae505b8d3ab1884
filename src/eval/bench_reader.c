/* bench_reader.c - the table of formats, and what their readers share. */
#include "eval/bench_reader.h"

#include <stdio.h>
#include <string.h>

const mm1_bench_format mm1_bench_formats[MM1_BENCH_FORMAT_COUNT] = {
    {"coco", mm1__bench_read_coco, "COCO captions: {images, annotations}; also NoCaps"},
    {"karpathy", mm1__bench_read_karpathy, "dataset_coco.json: {images: [{split, filepath, filename, sentences}]}"},
    {"textcaps", mm1__bench_read_textcaps, "TextCaps: {data: [{image_id, reference_strs}]}"},
    {"vqa", mm1__bench_read_vqa, "VQA: {questions}, and beside it {annotations}"},
    {"textvqa", mm1__bench_read_textvqa, "TextVQA: {data: [{question, image_id, answers}]}"},
    {"vizwiz", mm1__bench_read_vizwiz, "VizWiz: [{image, question, answers}]"},
    {"gqa", mm1__bench_read_gqa, "GQA: {id: {question, imageId, answer}}"},
    {"chartqa", mm1__bench_read_chartqa, "ChartQA: [{imgname, query, label}]"},
    {"docvqa", mm1__bench_read_docvqa, "DocVQA: {data: [{questionId, question, image, answers}]}"},
    {"ai2d", mm1__bench_read_ai2d, "AI2D: a folder of {imageName, questions}, and a list of the test pictures"},
    {"scienceqa", mm1__bench_read_scienceqa, "ScienceQA: problems.json and pid_splits.json"},
    {"mathvista", mm1__bench_read_mathvista, "MathVista: {pid: {question, image, choices, answer}}"},
    {"seed", mm1__bench_read_seed, "SEED-Bench: {questions: [{question, choice_a, ..., data_id, answer}]}"},
    {"tsv", mm1__bench_read_tsv, "a table with tabs: index, image (base64) or image_path, question, A, B, ..., answer"},
    {"llava", mm1__bench_read_llava, "a line: {question_id, image, text, label}; POPE, LLaVA-Bench"},
    {"mme", mm1__bench_read_mme, "MME: a folder a category, with pictures and lines of question, tab, answer"},
    {"arc", mm1__bench_read_arc, "ARC: a line: {id, question: {stem, choices}, answerKey}"},
    {"piqa", mm1__bench_read_piqa, "PIQA: a line: {goal, sol1, sol2}, and beside it a line: 0 or 1"},
    {"lambada", mm1__bench_read_lambada, "LAMBADA: a line: {text}"},
    {"winogrande", mm1__bench_read_winogrande, "WinoGrande: a line: {qID, sentence, option1, option2, answer}"},
    {"hellaswag", mm1__bench_read_hellaswag, "HellaSwag: a line: {ind, activity_label, ctx_a, ctx_b, endings, label}"},
    {"sciq", mm1__bench_read_sciq, "SciQ: [{question, correct_answer, distractor1, ..., support}]"},
    {"triviaqa", mm1__bench_read_triviaqa, "TriviaQA: {Data: [{QuestionId, Question, Answer: {Aliases, Value}}]}"},
    {"webquestions", mm1__bench_read_webquestions, "WebQuestions: [{utterance, targetValue, url}]"},
    {"labelled", mm1__bench_read_labelled, "pictures and labels in idx files, as of MNIST"},
    {"pairs", mm1__bench_read_pairs, "pictures and captions in tar files, as `mm1 data build` writes them"},
    {"messages", mm1__bench_read_messages, "a line, or key.json in a tar: {messages: [{role, content}], images}"},
    {"jsonl", mm1__bench_read_jsonl, "a line: {id, image, question, answer or answers, choices, ...}"},
};

const char *const mm1_bench_format_names[] = {
    "coco",     "karpathy", "textcaps",  "vqa",        "textvqa",   "vizwiz", "gqa",      "chartqa",
    "docvqa",   "ai2d",     "scienceqa", "mathvista",  "seed",      "tsv",    "llava",    "mme",
    "arc",      "piqa",     "lambada",   "winogrande", "hellaswag", "sciq",   "triviaqa", "webquestions",
    "labelled", "pairs",    "messages",  "jsonl",      NULL};

_Static_assert(sizeof mm1_bench_format_names / sizeof *mm1_bench_format_names == MM1_BENCH_FORMAT_COUNT + 1,
               "a name a format");

mm1_status mm1_bench_read(mm1_bench_format_id format, const char *name, const mm1_task_files *files, bool wants_answers,
                          mm1_bench_set *out, mm1_error *err)
{
    *out = (mm1_bench_set){0};
    mm1_status st = mm1__bench_wants(files->file, "a file", err);
    st = st != MM1_OK ? st : mm1_bench_formats[format].read(files, out, err);
    st = st != MM1_OK ? st : mm1_bench_set_finish(out, name, wants_answers, err);
    if (st == MM1_OK && out->n == 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: no item is left%s%s%s (format %s: %s)", files->file,
                           files->split != NULL ? " of split \"" : "", files->split != NULL ? files->split : "",
                           files->split != NULL ? "\"" : "", mm1_bench_formats[format].name,
                           mm1_bench_formats[format].help);
    }
    if (st != MM1_OK) {
        mm1_bench_set_deinit(out);
    }
    return st;
}

const char *mm1__bench_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

const char *mm1__bench_id(mm1_bench_set *s, const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_integer(v) ? mm1_bench_printf(s, "%lld", (long long)json_integer_value(v))
                              : mm1_bench_str(s, json_string_value(v));
}

mm1_status mm1__bench_each(mm1_json_stream *stream, const char *path, mm1_bench_set *s, mm1_bench_take_fn *take,
                           void *ctx, mm1_error *err)
{
    mm1_json_element e;
    bool more = true;
    mm1_status st = MM1_OK;
    while (st == MM1_OK && more && !s->no_memory) {
        st = mm1_json_stream_next(stream, &e, &more, err);
        if (st != MM1_OK || !more) {
            break;
        }
        const char *why = e.value == NULL            ? e.reason
                          : !json_is_object(e.value) ? "an object is expected"
                                                     : take(ctx, s, &e);
        if (why != NULL) {
            mm1_bench_bad(s, &s->counts.malformed, path, e.line, why);
        }
    }
    mm1_json_stream_close(stream);
    if (st == MM1_OK && s->no_memory) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its records", path);
    }
    return st;
}

mm1_status mm1__bench_json(const char *path, const char *member, mm1_bench_set *s, mm1_bench_take_fn *take, void *ctx,
                           mm1_error *err)
{
    mm1_json_stream *stream = NULL;
    const mm1_status st = mm1_json_stream_open(path, member, &stream, err);
    return st != MM1_OK ? st : mm1__bench_each(stream, path, s, take, ctx, err);
}

mm1_status mm1__bench_lines(const char *path, mm1_bench_set *s, mm1_bench_take_fn *take, void *ctx, mm1_error *err)
{
    mm1_json_stream *stream = NULL;
    const mm1_status st = mm1_json_stream_open_lines(path, &stream, err);
    return st != MM1_OK ? st : mm1__bench_each(stream, path, s, take, ctx, err);
}

mm1_status mm1__bench_wants(const char *path, const char *what, mm1_error *err)
{
    return path != NULL && path[0] != '\0'
               ? MM1_OK
               : mm1_error_set(err, MM1_E_ARG, "the task names no %s, which its format needs", what);
}
