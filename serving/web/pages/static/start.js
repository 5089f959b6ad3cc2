// validatorUrl: without it Swagger sends the document to a validator on the internet.
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null
});
