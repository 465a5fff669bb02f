#pragma once

namespace coppice::daemon {

extern const char* const kOpenApi;     ///< docs/reference/openapi.json
extern const char* const kOpenApiEtag; ///< with its quotes

} // namespace coppice::daemon
