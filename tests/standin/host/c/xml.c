/* Configuration files, from texts the test has set. A reader of tags, attributes, comments and the five entities. */
#include "host.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct file {
	char *name, *text;
	struct file *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct file *files;

void host_set_config(const char *name, const char *xml)
{
	pthread_mutex_lock(&mutex);
	struct file **place = &files;
	while (*place && strcmp((*place)->name, name)) {
		place = &(*place)->next;
	}
	if (!*place) {
		*place = calloc(1, sizeof(**place));
		(*place)->name = strdup(name);
	}
	free((*place)->text);
	(*place)->text = xml ? strdup(xml) : NULL;
	pthread_mutex_unlock(&mutex);
}

static char *decode(const char *from, const char *to)
{
	static const struct {
		const char *entity;
		char character;
	} entities[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
	char *text = calloc(1, (size_t)(to - from) + 1), *out = text;
	while (from < to) {
		size_t length = 1;
		char character = *from;
		for (size_t i = 0; i < sizeof(entities) / sizeof(*entities); i++) {
			if (!strncmp(from, entities[i].entity, strlen(entities[i].entity))) {
				length = strlen(entities[i].entity);
				character = entities[i].character;
			}
		}
		*out++ = character;
		from += length;
	}
	return text;
}

static void add_child(switch_xml_t parent, switch_xml_t child)
{
	child->parent = parent;
	switch_xml_t *place = &parent->child;
	while (*place && strcmp((*place)->name, child->name)) {
		place = &(*place)->sibling;
	}
	if (!*place) {
		*place = child;
		return;
	}
	switch_xml_t last = *place;
	while (last->next) {
		last = last->next;
	}
	last->next = child;
}

/* Reads the attributes up to the end of the tag; true when it has no content. */
static bool read_attributes(switch_xml_t tag, const char **position)
{
	const char *at = *position;
	size_t count = 0;
	tag->attr = calloc(1, sizeof(char *));
	for (;;) {
		while (isspace((unsigned char)*at)) {
			at++;
		}
		const char *name = at;
		while (*at && !isspace((unsigned char)*at) && !strchr("=/>", *at)) {
			at++;
		}
		if (at == name) {
			break;
		}
		const char *name_end = at, *equals = strchr(at, '=');
		const char *quote = equals ? strpbrk(equals, "\"'") : NULL, *end = quote ? strchr(quote + 1, *quote) : NULL;
		if (!end) {
			break;
		}
		tag->attr = realloc(tag->attr, (count + 3) * sizeof(char *));
		tag->attr[count++] = decode(name, name_end);
		tag->attr[count++] = decode(quote + 1, end);
		tag->attr[count] = NULL;
		at = end + 1;
	}
	bool empty = *at == '/';
	const char *close = strchr(at, '>');
	*position = close ? close + 1 : at + strlen(at);
	return empty;
}

static switch_xml_t parse(const char *at)
{
	switch_xml_t root = calloc(1, sizeof(*root)), parent = root;
	root->name = strdup("");
	root->txt = strdup("");
	while (*at) {
		const char *open = strchr(at, '<');
		if (!open) {
			break;
		}
		if (!strncmp(open, "<!--", 4)) {
			const char *end = strstr(open, "-->");
			at = end ? end + 3 : open + strlen(open);
		} else if (open[1] == '?' || open[1] == '!') {
			const char *end = strchr(open, '>');
			at = end ? end + 1 : open + strlen(open);
		} else if (open[1] == '/') {
			if (parent != root) {
				free(parent->txt);
				parent->txt = decode(at, open);
				parent = parent->parent;
			}
			const char *end = strchr(open, '>');
			at = end ? end + 1 : open + strlen(open);
		} else {
			switch_xml_t tag = calloc(1, sizeof(*tag));
			const char *name = open + 1;
			at = name;
			while (*at && !isspace((unsigned char)*at) && !strchr("/>", *at)) {
				at++;
			}
			tag->name = strndup(name, (size_t)(at - name));
			tag->txt = strdup("");
			add_child(parent, tag);
			if (!read_attributes(tag, &at)) {
				parent = tag;
			}
		}
	}
	return root;
}

/* Depth first, as long as no <configuration name="…"> is found. */
static switch_xml_t find_configuration(switch_xml_t tag, const char *name)
{
	for (switch_xml_t sibling = tag; sibling; sibling = sibling->sibling) {
		for (switch_xml_t each = sibling; each; each = each->next) {
			if (!strcmp(each->name, "configuration") && !strcmp(switch_xml_attr_soft(each, "name"), name)) {
				return each;
			}
			switch_xml_t below = find_configuration(each->child, name);
			if (below) {
				return below;
			}
		}
	}
	return NULL;
}

/* As a web server does that answers late: who has the text has to wait. */
static bool held;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;

void host_hold_config(int hold)
{
	pthread_mutex_lock(&mutex);
	held = hold;
	pthread_cond_broadcast(&released);
	pthread_mutex_unlock(&mutex);
}

switch_xml_t switch_xml_open_cfg(const char *file_path, switch_xml_t *node, switch_event_t *params)
{
	(void)params;
	*node = NULL;
	pthread_mutex_lock(&mutex);
	struct file *file = files;
	while (file && strcmp(file->name, file_path)) {
		file = file->next;
	}
	switch_xml_t root = file && file->text ? parse(file->text) : NULL;
	while (held) {
		pthread_cond_wait(&released, &mutex);
	}
	pthread_mutex_unlock(&mutex);
	if (root && !(*node = find_configuration(root->child, file_path))) {
		switch_xml_free(root);
		root = NULL;
	}
	return root;
}

switch_xml_t switch_xml_parse_file(const char *file)
{
	FILE *stream = fopen(file, "r");
	char *text = NULL;
	size_t size = 0;
	if (!stream || getdelim(&text, &size, '\0', stream) < 0) {
		free(text);
		if (stream) {
			fclose(stream);
		}
		return NULL;
	}
	fclose(stream);
	switch_xml_t root = parse(text), tag = root->child;
	free(text);
	root->child = NULL;
	switch_xml_free(root);
	if (tag) {
		tag->parent = NULL;
	}
	return tag;
}

const char *switch_xml_error(switch_xml_t xml)
{
	(void)xml;
	return "";
}

switch_xml_t switch_xml_child(switch_xml_t xml, const char *name)
{
	xml = xml ? xml->child : NULL;
	while (xml && strcmp(name, xml->name)) {
		xml = xml->sibling;
	}
	return xml;
}

const char *switch_xml_attr(switch_xml_t xml, const char *attr)
{
	for (size_t i = 0; xml && xml->attr && xml->attr[i]; i += 2) {
		if (!strcmp(xml->attr[i], attr)) {
			return xml->attr[i + 1];
		}
	}
	return NULL;
}

const char *switch_xml_attr_soft(switch_xml_t xml, const char *attr)
{
	const char *value = switch_xml_attr(xml, attr);
	return value ? value : "";
}

void switch_xml_free(switch_xml_t xml)
{
	while (xml) {
		switch_xml_free(xml->child);
		switch_xml_free(xml->next);
		for (size_t i = 0; xml->attr && xml->attr[i]; i++) {
			free(xml->attr[i]);
		}
		free(xml->attr);
		free(xml->name);
		free(xml->txt);
		switch_xml_t sibling = xml->sibling;
		free(xml);
		xml = sibling;
	}
}
