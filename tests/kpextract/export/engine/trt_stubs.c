/* Stands in for the libraries that NVIDIA's Python bindings link; nothing is called. */
void *createInferBuilder_INTERNAL(void) { return 0; }
void *createInferRefitter_INTERNAL(void) { return 0; }
void *createInferRuntime_INTERNAL(void) { return 0; }
void *createNvOnnxParser_INTERNAL(void) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void) { return 0; }
void *getBuilderPluginRegistry(void) { return 0; }
void *getNvOnnxParserVersion(void) { return 0; }
void *getPluginRegistry(void) { return 0; }
void *initLibNvInferPlugins(void) { return 0; }
/* The older formats of TensorRT 8. */
void *_ZN11nvuffparser15createUffParserEv(void) { return 0; }
void *_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi(void) { return 0; }
void *_ZN14nvcaffeparser117createCaffeParserEv(void) { return 0; }
void *_ZN14nvcaffeparser123shutdownProtobufLibraryEv(void) { return 0; }
