/* Modules: loading, what they register, running it, unloading. */
#include "host.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct module {
	char *name;
	void *library;
	switch_memory_pool_t *pool;
	switch_loadable_module_interface_t *interface;
	switch_module_shutdown_t shutdown;
	switch_module_runtime_t runtime;
	pthread_t runtime_thread;
	atomic_bool shutting_down;
	bool permanent;
	struct module *next;
};

/* Entries of the modules in the list are in force. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct module *modules;

/* Modules whose unload was refused when they were out of the list: nobody finds them, and they stay as they are. */
static struct module *kept;

switch_loadable_module_interface_t *switch_loadable_module_create_module_interface(switch_memory_pool_t *pool,
																				   const char *name)
{
	switch_loadable_module_interface_t *module = pool_alloc(pool, sizeof(*module));
	module->pool = pool;
	module->module_name = pool_strdup(pool, name);
	module->rwlock = rwlock_new(pool);
	return module;
}

void *switch_loadable_module_create_interface(switch_loadable_module_interface_t *mod,
											  switch_module_interface_name_t iname)
{
	if (iname == SWITCH_API_INTERFACE) {
		switch_api_interface_t *api = pool_alloc(mod->pool, sizeof(*api)), **place = &mod->api_interface;
		while (*place) {
			place = &(*place)->next;
		}
		*place = api;
		api->rwlock = rwlock_new(mod->pool);
		api->reflock = mutex_new(mod->pool);
		api->parent = mod;
		return api;
	}
	if (iname == SWITCH_APPLICATION_INTERFACE) {
		switch_application_interface_t *application = pool_alloc(mod->pool, sizeof(*application)),
									   **place = &mod->application_interface;
		while (*place) {
			place = &(*place)->next;
		}
		*place = application;
		application->rwlock = rwlock_new(mod->pool);
		application->reflock = mutex_new(mod->pool);
		application->parent = mod;
		return application;
	}
	return NULL;
}

static struct module **find(const char *name)
{
	struct module **place = &modules;
	while (*place && strcmp((*place)->name, name)) {
		place = &(*place)->next;
	}
	return place;
}

struct request {
	const char *path, *name, *argument, *user;
	bool force;
	char *answer;
};

static void *run_module(void *argument)
{
	struct module *module = argument;
	while (!module->shutting_down && module->runtime() != SWITCH_STATUS_TERM) {
	}
	return NULL;
}

static void *load(void *argument)
{
	struct request *request = argument;
	char symbol[256] = "";
	strncat(symbol, request->name, 200);
	strcat(symbol, "_module_interface");
	pthread_mutex_lock(&mutex);
	bool loaded = *find(request->name);
	pthread_mutex_unlock(&mutex);
	if (loaded) {
		request->answer = strdup("Module already loaded");
		return NULL;
	}
	void *library = dlopen(request->path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		request->answer = strdup(dlerror());
		return NULL;
	}
	switch_memory_pool_t *pool = pool_new();
	switch_loadable_module_function_table_t *table = dlsym(library, symbol);
	switch_loadable_module_interface_t *interface = NULL;
	switch_status_t status = SWITCH_STATUS_FALSE;
	const char *error = NULL;
	if (!table) {
		error = dlerror();
	} else if (table->switch_api_version != SWITCH_API_VERSION) {
		error = "Trying to load an out of date module, please rebuild the module.";
	} else if (!table->load) {
		error = "Cannot locate symbol 'switch_module_load' please make sure this is a valid module.";
	} else if ((status = table->load(&interface, pool)) != SWITCH_STATUS_SUCCESS && status != SWITCH_STATUS_NOUNLOAD) {
		error = "Module load routine returned an error";
	} else if (!interface) {
		error = "Module failed to initialize its module_interface. Is this a valid module?";
	}
	if (error) {
		request->answer = strdup(error);
		dlclose(library);
		pool_free(pool);
		return NULL;
	}
	struct module *module = calloc(1, sizeof(*module));
	module->name = strdup(request->name);
	module->library = library;
	module->pool = pool;
	module->interface = interface;
	module->shutdown = table->shutdown;
	module->runtime = table->runtime;
	module->permanent = status == SWITCH_STATUS_NOUNLOAD;
	pthread_mutex_lock(&mutex);
	module->next = modules;
	modules = module;
	pthread_mutex_unlock(&mutex);
	if (module->runtime && thread_start(&module->runtime_thread, "module", run_module, module)) {
		abort();
	}
	return NULL;
}

char *host_module_load(const char *path, const char *name)
{
	struct request request = {.path = path, .name = name};
	run_on_thread(load, &request);
	return request.answer;
}

/* Waits for those who are inside, for at most ten seconds. */
static void wait_out(switch_thread_rwlock_t *lock, const char *name)
{
	if (rwlock_timedwrlock(lock, 10000)) {
		switch_thread_rwlock_unlock(lock);
	} else {
		switch_log_printf(SWITCH_CHANNEL_ID_LOG, __FILE__, __func__, __LINE__, NULL, SWITCH_LOG_ERROR,
						  "Giving up on '%s' waiting for existing references.\n", name);
	}
}

static void keep(struct module *module)
{
	pthread_mutex_lock(&mutex);
	module->next = kept;
	kept = module;
	pthread_mutex_unlock(&mutex);
}

static void *unload(void *argument)
{
	struct request *request = argument;
	pthread_mutex_lock(&mutex);
	struct module **place = find(request->name), *module = *place;
	if (!module || module->permanent) {
		request->answer = strdup(module ? "Module is not unloadable" : "No such module!");
		pthread_mutex_unlock(&mutex);
		return NULL;
	}
	if (!request->force && switch_thread_rwlock_trywrlock(module->interface->rwlock) != SWITCH_STATUS_SUCCESS) {
		request->answer = strdup("Module in use.");
		pthread_mutex_unlock(&mutex);
		return NULL;
	}
	module->shutting_down = true;
	*place = module->next;
	pthread_mutex_unlock(&mutex);
	for (switch_application_interface_t *each = module->interface->application_interface; each; each = each->next) {
		wait_out(each->rwlock, each->interface_name);
	}
	for (switch_api_interface_t *each = module->interface->api_interface; each; each = each->next) {
		wait_out(each->rwlock, each->interface_name);
	}
	/* The interface stays write-locked while the module shuts down, unless forced. */
	switch_status_t status = module->shutdown ? module->shutdown() : SWITCH_STATUS_SUCCESS;
	if (!request->force) {
		switch_thread_rwlock_unlock(module->interface->rwlock);
	}
	if (status == SWITCH_STATUS_NOUNLOAD) {
		keep(module);
		return NULL;
	}
	if (module->runtime) {
		pthread_join(module->runtime_thread, NULL);
	}
	/* The real one does not look, and who is inside then uses freed memory. */
	if (switch_thread_rwlock_trywrlock(module->interface->rwlock) != SWITCH_STATUS_SUCCESS) {
		keep(module);
		request->answer = strdup("The module's interface is freed while somebody uses it.");
		return NULL;
	}
	switch_thread_rwlock_unlock(module->interface->rwlock);
	dlclose(module->library);
	pool_free(module->pool);
	free(module->name);
	free(module);
	return NULL;
}

char *host_module_unload(const char *name, int force)
{
	struct request request = {.name = name, .force = force};
	run_on_thread(unload, &request);
	return request.answer;
}

/* Keeps the module and one of its interfaces from going away; false when the module is just being unloaded. */
static bool protect(switch_loadable_module_interface_t *module, switch_thread_rwlock_t *lock)
{
	if (switch_thread_rwlock_tryrdlock(module->rwlock) != SWITCH_STATUS_SUCCESS) {
		return false;
	}
	switch_thread_rwlock_rdlock(lock);
	return true;
}

static void unprotect(switch_loadable_module_interface_t *module, switch_thread_rwlock_t *lock)
{
	switch_thread_rwlock_unlock(lock);
	switch_thread_rwlock_unlock(module->rwlock);
}

static switch_api_interface_t *find_api(const char *name)
{
	pthread_mutex_lock(&mutex);
	switch_api_interface_t *found = NULL;
	for (struct module *module = modules; module && !found; module = module->next) {
		for (found = module->interface->api_interface; found && strcasecmp(found->interface_name, name);
			 found = found->next) {
		}
	}
	if (found && !protect(found->parent, found->rwlock)) {
		found = NULL;
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

static switch_application_interface_t *find_application(const char *name)
{
	pthread_mutex_lock(&mutex);
	switch_application_interface_t *found = NULL;
	for (struct module *module = modules; module && !found; module = module->next) {
		for (found = module->interface->application_interface; found && strcasecmp(found->interface_name, name);
			 found = found->next) {
		}
	}
	if (found && !protect(found->parent, found->rwlock)) {
		found = NULL;
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

static switch_status_t stream_write(switch_stream_handle_t *handle, const char *fmt, ...)
{
	char *text = NULL;
	va_list arguments;
	va_start(arguments, fmt);
	int size = vasprintf(&text, fmt, arguments);
	va_end(arguments);
	if (size < 0) {
		return SWITCH_STATUS_FALSE;
	}
	switch_status_t status = handle->raw_write_function(handle, (uint8_t *)text, (switch_size_t)size);
	free(text);
	return status;
}

static switch_status_t stream_raw_write(switch_stream_handle_t *handle, uint8_t *data, switch_size_t datalen)
{
	handle->data = realloc(handle->data, handle->data_len + datalen + 1);
	memcpy((char *)handle->data + handle->data_len, data, datalen);
	handle->data_len += datalen;
	((char *)handle->data)[handle->data_len] = '\0';
	return SWITCH_STATUS_SUCCESS;
}

/* A copy without the blanks around it. */
static char *strip(const char *text)
{
	static const char *const blanks = "\r\n\t \v";
	text += strspn(text, blanks);
	size_t length = strlen(text);
	while (length && strchr(blanks, text[length - 1])) {
		length--;
	}
	return strndup(text, length);
}

static void *execute_api(void *argument)
{
	struct request *request = argument;
	switch_stream_handle_t stream = {.write_function = stream_write, .raw_write_function = stream_raw_write};
	stream.data = strdup("");
	char *data = strip(request->argument ? request->argument : "");
	switch_event_create_subclass_detailed("host", "api", 0, &stream.param_event, SWITCH_EVENT_CLONE, NULL);
	switch_event_add_header_string(stream.param_event, SWITCH_STACK_BOTTOM, "API-Command", request->name);
	switch_event_add_header_string(stream.param_event, SWITCH_STACK_BOTTOM, "API-Command-Argument", data);
	if (request->user) {
		switch_event_add_header_string(stream.param_event, SWITCH_STACK_BOTTOM, "HTTP-USER", request->user);
	}
	switch_api_interface_t *api = find_api(request->name);
	if (api) {
		if (api->function(data, NULL, &stream) != SWITCH_STATUS_SUCCESS) {
			stream.write_function(&stream, "COMMAND RETURNED ERROR!\n");
		}
		unprotect(api->parent, api->rwlock);
	} else {
		stream.write_function(&stream, "INVALID COMMAND!\n");
	}
	switch_event_destroy(&stream.param_event);
	free(data);
	request->answer = stream.data;
	return NULL;
}

char *host_api(const char *command, const char *argument, const char *user)
{
	struct request request = {.name = command, .argument = argument, .user = user};
	run_on_thread(execute_api, &request);
	return request.answer;
}

bool application_execute(switch_core_session_t *session, const char *name, const char *data)
{
	if (channel_down(session->channel)) {
		return false;
	}
	switch_application_interface_t *application = find_application(name);
	if (!application) {
		switch_log_printf(SWITCH_CHANNEL_ID_SESSION, __FILE__, __func__, __LINE__, (const char *)session,
						  SWITCH_LOG_ERROR, "Invalid Application %s\n", name);
		channel_hangup(session->channel, 27);
		return false;
	}
	bool media = (application->flags & SAF_SUPPORT_NOMEDIA) ||
				 switch_channel_test_ready(session->channel, SWITCH_TRUE, SWITCH_TRUE) ||
				 switch_channel_perform_pre_answer(session->channel, __FILE__, __func__, __LINE__) ==
					 SWITCH_STATUS_SUCCESS;
	if (media) {
		switch_channel_set_variable_var_check(session->channel, "current_application", name, SWITCH_FALSE);
		application->application_function(session, data);
	}
	unprotect(application->parent, application->rwlock);
	return media;
}

char *host_apis(void)
{
	char *text = strdup("");
	size_t length = 0;
	pthread_mutex_lock(&mutex);
	for (struct module *module = modules; module; module = module->next) {
		for (switch_api_interface_t *api = module->interface->api_interface; api; api = api->next) {
			text_append(&text, &length, "%s\t%s\n", api->interface_name, api->syntax);
		}
	}
	pthread_mutex_unlock(&mutex);
	return text;
}

char *host_applications(void)
{
	char *text = strdup("");
	size_t length = 0;
	pthread_mutex_lock(&mutex);
	for (struct module *module = modules; module; module = module->next) {
		for (switch_application_interface_t *each = module->interface->application_interface; each; each = each->next) {
			text_append(&text, &length, "%s\t%s\n", each->interface_name, each->syntax);
		}
	}
	pthread_mutex_unlock(&mutex);
	return text;
}
